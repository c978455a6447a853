//! Why policies say what they say: every part of each condition, with its truth for one caller and one row.

use crate::{
    About, ActionId, Policies, PolicyName, Principal,
    bind::Binder,
    index::Rule,
    node::{Node, Ty},
    scalar::{Scalar, Truth, known},
    words::Words,
};
use haechi_model::{App, Lookup, Predicate, Value};

/// The truth of a condition, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It raises an error: the policy does not permit, and denies if it forbids.
    Error,
    /// It depends on the row, and no row was named.
    Depends,
    /// An earlier part has decided, so this one is not evaluated.
    Skipped,
}

/// What one policy says, and why.
#[derive(Clone, Debug)]
pub struct Account<'a> {
    /// The policy.
    pub policy: &'a PolicyName,
    /// The role that the policy is for, when the caller does not have it. The rest is then what it would say about a caller with it.
    pub lacks: Option<&'a str>,
    /// Whether it applies.
    pub applies: Verdict,
    /// Its parts, in the order of the text.
    pub parts: Vec<Part>,
}

/// A part of a condition.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its nesting depth.
    pub depth: usize,
    /// The part, as Cedar's text; `any of` and `all of` stand before the parts that they join.
    pub text: String,
    /// Its truth.
    pub verdict: Verdict,
    /// The truth that would make the policy say the opposite.
    pub wanted: Option<bool>,
    /// What it looks at.
    pub values: Vec<Seen>,
}

/// A value that a part looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Where it stands, e.g. `resource.lead`.
    pub of: String,
    /// The value, as Cedar's text; `None` when its field is guarded, so that it is not shown.
    pub value: Option<String>,
}

/// The row to decide about, with the rows that it refers to.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The row.
    pub row: &'a [Value],
    /// Rows of other collections.
    pub rows: &'a dyn Lookup,
}

impl Policies {
    /// What each policy that could matter says of a row, or of all rows, and why; then those that permit for roles that the caller lacks.
    #[must_use]
    pub fn accounts<'a>(
        &'a self,
        app: &App,
        principal: &Principal<'a>,
        (action, about): (ActionId, About<'a>),
        now_ms: i64,
        target: Option<Target<'_>>,
    ) -> Vec<Account<'a>> {
        let slice = self.slice(about, action);
        let account = |principal: &Principal<'_>, rule: &Rule, lacks| {
            let binder = self.binder(principal, about, now_ms);
            let mut teller = Teller { binder: &binder, words: Words { app }, target, parts: Vec::new() };
            let applies = teller.verdict(&binder.truth(&rule.plan));
            // Explanations show how the decision that keeps the caller out would change.
            let wanted = if rule.forbids { (applies != Verdict::False).then_some(false) } else { (applies != Verdict::True).then_some(true) };
            teller.tell(&rule.plan, 0, wanted, false);
            Account { policy: &self.names[rule.policy], lacks, applies, parts: teller.parts }
        };
        let mut found: Vec<Account<'a>> = slice.rules(principal.roles).map(|rule| account(principal, rule, None)).collect();
        for (role, rules) in slice.by_role().filter(|(role, _)| !principal.roles.iter().any(|has| **has == **role)) {
            let roles: Vec<Box<str>> = principal.roles.iter().cloned().chain([role.into()]).collect();
            let with = Principal { kind: principal.kind, id: principal.id, roles: &roles, row: principal.row };
            found.extend(rules.iter().filter(|rule| !rule.forbids).map(|rule| account(&with, rule, Some(role))));
        }
        found
    }
}

struct Teller<'a> {
    binder: &'a Binder<'a>,
    words: Words<'a>,
    target: Option<Target<'a>>,
    parts: Vec<Part>,
}

impl Teller<'_> {
    fn verdict(&self, truth: &Truth) -> Verdict {
        let holds = |predicate: &Predicate| match (predicate, self.target) {
            (Predicate::True, _) => Some(true),
            (Predicate::False, _) => Some(false),
            (predicate, Some(target)) => Some(predicate.holds(target.row, target.rows)),
            (_, None) => None,
        };
        match (holds(&truth.t), holds(&truth.f)) {
            // It depends on the fields that are written.
            (Some(true), Some(true)) => Verdict::Depends,
            (Some(true), _) => Verdict::True,
            (_, Some(true)) => Verdict::False,
            (Some(false), Some(false)) => Verdict::Error,
            _ => Verdict::Depends,
        }
    }

    /// Reports a part and its own parts. `skipped`: an earlier part has decided.
    fn tell(&mut self, node: &Node, depth: usize, wanted: Option<bool>, skipped: bool) -> Verdict {
        let verdict = if skipped { Verdict::Skipped } else { self.verdict(&self.binder.truth(node)) };
        // A part that is skipped, or has the wanted truth, needs no change.
        let wanted = wanted.filter(|wanted| !skipped && verdict != if *wanted { Verdict::True } else { Verdict::False });
        let heading = |text: &str| Part { depth, text: text.to_owned(), verdict, wanted: None, values: Vec::new() };
        match node {
            Node::And(..) => {
                // The whole condition is a conjunction anyway: that is not reported.
                let inner = if depth == 0 { 0 } else { depth + 1 };
                if depth > 0 {
                    self.parts.push(heading("all of"));
                }
                self.joined(node, inner, wanted, skipped);
            }
            Node::Or(..) => {
                self.parts.push(heading("any of"));
                self.joined(node, depth + 1, wanted, skipped);
            }
            Node::Not(inner) if matches!(**inner, Node::And(..) | Node::Or(..) | Node::If(..)) => {
                self.parts.push(heading("not"));
                self.tell(inner, depth + 1, wanted.map(|wanted| !wanted), skipped);
            }
            Node::If(condition, then, other) => {
                self.parts.push(heading("if, then, else"));
                let chosen = self.tell(condition, depth + 1, None, skipped);
                self.tell(then, depth + 1, wanted, !matches!(chosen, Verdict::True | Verdict::Depends));
                self.tell(other, depth + 1, wanted, !matches!(chosen, Verdict::False | Verdict::Depends));
            }
            leaf => {
                // The reader knows the caller already.
                let of_the_caller = match leaf {
                    Node::Is(of, _) => **of == Node::Principal,
                    Node::In(of, parent) => **of == Node::Principal && !matches!(**parent, Node::Group { .. }),
                    _ => false,
                };
                let values = if skipped || of_the_caller { Vec::new() } else { self.values(leaf) };
                self.parts.push(Part { depth, text: self.words.of(leaf), verdict, wanted, values });
            }
        }
        verdict
    }

    fn joined(&mut self, node: &Node, depth: usize, wanted: Option<bool>, skipped: bool) {
        let conjunction = matches!(node, Node::And(..));
        let mut open = vec![node];
        let mut decided = skipped;
        while let Some(next) = open.pop() {
            match next {
                Node::And(a, b) if conjunction => open.extend([&**b, &**a]),
                Node::Or(a, b) if !conjunction => open.extend([&**b, &**a]),
                part => {
                    let verdict = self.tell(part, depth, wanted, decided);
                    // Cedar evaluates nothing after the part that decides, or after an error.
                    decided |= verdict == Verdict::Error || verdict == if conjunction { Verdict::False } else { Verdict::True };
                }
            }
        }
    }

    /// The values of fields that a part looks at, and who or what it compares with.
    fn values(&self, leaf: &Node) -> Vec<Seen> {
        let mut seen: Vec<Seen> = Vec::new();
        leaf.each_value(&mut |node| {
            let of = self.words.of(node);
            if seen.iter().any(|seen| seen.of == of) {
                return;
            }
            let guarded = self.looks_at_guarded(node);
            match self.value(node) {
                Some(_) if guarded => seen.push(Seen { of, value: None }),
                Some(value) => seen.push(Seen { of, value: Some(value) }),
                None => {}
            }
        });
        seen
    }

    fn looks_at_guarded(&self, node: &Node) -> bool {
        let Node::Attribute { table, column, .. } = node else { return false };
        let app = self.words.app;
        app.classes[app.collections[*table].fields[*column].class].guarded()
    }

    fn value(&self, node: &Node) -> Option<String> {
        match (self.binder.scalar(node), self.target) {
            (Scalar::Known(value), _) => Some(self.words.value(&value)),
            (Scalar::Row { operand, ty, .. }, Some(target)) => Some(self.stored(&operand.value(target.row, target.rows), &ty)),
            (Scalar::Error, _) => Some("not there".to_owned()),
            _ => None,
        }
    }

    fn stored(&self, value: &Value, ty: &Ty) -> String {
        known(value, ty).map_or_else(|| "not there".to_owned(), |value| self.words.value(&value))
    }
}
