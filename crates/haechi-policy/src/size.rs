//! How large a plan grows as a condition, known before it is bound.

use crate::{
    node::{Node, Ty, Val},
    refusal::Refusal,
};

/// The most nodes that one policy may grow to as a condition.
const MAX_PLAN_NODES: usize = 8_000;

/// Over how many values the operands of one operator may choose by `if`.
pub(crate) const MAX_ALTERNATIVES: usize = 256;

/// Databases bound how deep a condition nests; SQLite at 1000.
pub(crate) const MAX_DEPTH: usize = 400;

/// Over how many values an operand chooses by `if`.
pub(crate) fn alternatives(node: &Node) -> usize {
    match node {
        Node::If(_, a, b) if node.ty() != Ty::Bool => alternatives(a).saturating_add(alternatives(b)),
        _ => 1,
    }
}

/// Refuses a plan that grows too large, and says what makes it so.
pub(crate) fn too_large(whole: &Node) -> Option<Refusal> {
    let size = expansion(whole);
    if size.0.max(size.1) > MAX_PLAN_NODES {
        let message = format!("the conditions grow to more than {MAX_PLAN_NODES} parts, most of them by {}", heaviest(whole));
        return Some(Refusal::new(
            message,
            "write alternatives of one value as `[…].contains(…)`, or split the policy: each `||` at its top can be a policy of its own",
        ));
    }
    (depth(whole) > MAX_DEPTH).then(too_deep)
}

/// The refusal of a condition that is nested too deep.
pub(crate) fn too_deep() -> Refusal {
    let message = format!("more than {MAX_DEPTH} conditions joined, or nested in each other,");
    Refusal::new(
        format!("{message} cannot be turned into one condition"),
        "write alternatives of one value as `[…].contains(…)`, or split the policy",
    )
}

/// Upper bounds of the sizes of *surely true* and *surely false*.
fn expansion(node: &Node) -> (usize, usize) {
    let sum = |a: usize, b: usize| a.saturating_add(b);
    match node {
        Node::And(a, b) => {
            let ((ta, fa), (tb, fb)) = (expansion(a), expansion(b));
            (sum(ta, tb), sum(fa, sum(ta, fb)))
        }
        Node::Or(a, b) => {
            let ((ta, fa), (tb, fb)) = (expansion(a), expansion(b));
            (sum(ta, sum(fa, tb)), sum(fa, fb))
        }
        Node::Not(a) => {
            let (t, f) = expansion(a);
            (f, t)
        }
        Node::If(c, a, b) => {
            let ((tc, fc), (ta, fa), (tb, fb)) = (expansion(c), expansion(a), expansion(b));
            let both = sum(tc, fc);
            (sum(both, sum(ta, tb)), sum(both, sum(fa, fb)))
        }
        Node::Compare(a, _, b) | Node::In(a, b) | Node::Contains(a, b) => {
            let (a, b) = (expansion(a), expansion(b));
            let all = sum(sum(sum(a.0, a.1), sum(b.0, b.1)), 1);
            (all, all)
        }
        Node::ContainsAll(a, b) | Node::ContainsAny(a, b) => {
            let all = expansion(a).0.saturating_mul(expansion(b).0).saturating_add(1);
            (all, all)
        }
        Node::Set(items) => {
            let all = items.iter().map(|item| expansion(item).0).fold(1, sum);
            (all, all)
        }
        Node::Literal(Val::Set(items)) => (items.len(), items.len()),
        _ => (1, 1),
    }
}

fn depth(node: &Node) -> usize {
    match node {
        // Where the left side cannot raise an error, both databases see a flat list; this counts as if it always could.
        Node::And(a, b) | Node::Or(a, b) | Node::Compare(a, _, b) => 1 + depth(a).max(depth(b)),
        Node::Not(a) => depth(a),
        Node::If(c, a, b) => 1 + depth(c).max(depth(a)).max(depth(b)),
        _ => 1,
    }
}

/// The operator under which the most of the growth stands.
fn heaviest(node: &Node) -> &'static str {
    let weight = |node: &Node| {
        let (t, f) = expansion(node);
        t.saturating_add(f)
    };
    let (name, parts): (_, Vec<&Node>) = match node {
        Node::And(a, b) => ("`&&`", vec![a, b]),
        Node::Or(a, b) => ("`||`", vec![a, b]),
        Node::Not(a) => return heaviest(a),
        Node::If(c, a, b) => ("`if`", vec![c, a, b]),
        Node::Compare(a, _, b) => ("`==`", vec![a, b]),
        Node::ContainsAll(..) => return "`containsAll`",
        Node::ContainsAny(..) => return "`containsAny`",
        _ => return "a set",
    };
    match parts.into_iter().max_by_key(|part| weight(part)) {
        Some(part) if weight(part) > MAX_PLAN_NODES => heaviest(part),
        _ => name,
    }
}
