//! Cedar's syntax tree to a plan. What cannot become SQL is refused here, with the reason.

use crate::{
    mutation::{Mutation, mutated},
    node::{EntityTy, Function, Node, Ty, Val},
    refusal::{Refusal, refuse, refuse_for},
    schema::decimal_scale,
    size::{MAX_ALTERNATIVES, MAX_DEPTH, alternatives, too_deep, too_large},
};
use cedar_policy::pst::{
    BinaryOp, Clause, EntityOrSlot, EntityUID, Expr, Literal, PatternElem, PrincipalConstraint, ResourceConstraint, UnaryOp, Var,
};
use haechi_model::{App, CollectionId, Comparison, Field, FieldType, LikePart, ThingKind, USERS};

/// Compiles the policies about the rows of one collection, or about one kind of thing.
pub(crate) struct Compiler<'a> {
    pub(crate) app: &'a App,
    pub(crate) subject: Subject,
}

/// What `resource` is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A row of a collection.
    Rows(CollectionId),
    /// A thing that is no row.
    Thing(ThingKind),
}

impl Subject {
    fn ty(self) -> EntityTy {
        match self {
            Self::Rows(id) => EntityTy::Collection(id),
            Self::Thing(kind) => EntityTy::Thing(kind),
        }
    }
}

pub(crate) type Compiled = Result<Node, Refusal>;

impl Compiler<'_> {
    /// The scope's principal and resource parts and all conditions, as one conjunction.
    pub(crate) fn policy(&self, principal: &PrincipalConstraint, resource: &ResourceConstraint, clauses: &[Clause]) -> Compiled {
        let mut parts = vec![self.principal(principal)?, self.resource(resource)?];
        for clause in clauses {
            parts.push(match clause {
                Clause::When(expr) => self.expr(expr)?,
                Clause::Unless(expr) => Node::Not(Box::new(self.expr(expr)?)),
            });
        }
        let always = Node::Literal(Val::Bool(true));
        let whole = chain(parts.into_iter().filter(|part| *part != always), Node::And).unwrap_or(always);
        if let Some(why) = misplaced_group(&whole).or_else(|| too_large(&whole)) {
            return Err(why);
        }
        Ok(whole)
    }

    fn principal(&self, constraint: &PrincipalConstraint) -> Compiled {
        let principal = || Box::new(Node::Principal);
        Ok(match constraint {
            PrincipalConstraint::Any => Node::Literal(Val::Bool(true)),
            PrincipalConstraint::Eq(entity) => Node::Compare(principal(), Comparison::Equal, Box::new(self.scope_entity(entity)?)),
            PrincipalConstraint::In(entity) => Node::In(principal(), Box::new(self.scope_entity(entity)?)),
            PrincipalConstraint::Is(ty) => Node::Is(principal(), self.entity_ty(&ty.to_string())?),
            PrincipalConstraint::IsIn(ty, entity) => Node::And(
                Box::new(Node::Is(principal(), self.entity_ty(&ty.to_string())?)),
                Box::new(Node::In(principal(), Box::new(self.scope_entity(entity)?))),
            ),
        })
    }

    fn resource(&self, constraint: &ResourceConstraint) -> Compiled {
        let resource = || Box::new(Node::Resource);
        Ok(match constraint {
            ResourceConstraint::Any => Node::Literal(Val::Bool(true)),
            ResourceConstraint::Eq(entity) => Node::Compare(resource(), Comparison::Equal, Box::new(self.scope_entity(entity)?)),
            ResourceConstraint::In(entity) => Node::In(resource(), Box::new(self.scope_entity(entity)?)),
            ResourceConstraint::Is(ty) => Node::Literal(Val::Bool(self.entity_ty(&ty.to_string())? == self.subject.ty())),
            ResourceConstraint::IsIn(ty, entity) => {
                if self.entity_ty(&ty.to_string())? == self.subject.ty() {
                    Node::In(resource(), Box::new(self.scope_entity(entity)?))
                } else {
                    Node::Literal(Val::Bool(false))
                }
            }
        })
    }

    fn scope_entity(&self, entity: &EntityOrSlot) -> Compiled {
        match entity {
            EntityOrSlot::Entity(uid) => Ok(Node::Literal(self.entity(uid)?)),
            EntityOrSlot::Slot(_) => refuse("a template", "write the policy out"),
        }
    }

    fn entity_ty(&self, name: &str) -> Result<EntityTy, Refusal> {
        Ok(match name {
            "Role" => EntityTy::Role,
            "services" => EntityTy::Service,
            "Anonymous" => EntityTy::Anonymous,
            "Action" => EntityTy::Action,
            name => match (self.app.collection(name), ThingKind::ALL.into_iter().find(|kind| kind.type_name() == name)) {
                (Some(collection), _) => EntityTy::Collection(collection.id),
                (None, Some(kind)) => EntityTy::Thing(kind),
                (None, None) => return refuse_for(format!("`{name}`, which no collection is named"), "see the schema: `haechi generate cedar`"),
            },
        })
    }

    /// A named entity. An undeclared role is an error at any place: a misspelt one in a forbid would never be noticed.
    pub(crate) fn entity(&self, uid: &EntityUID) -> Result<Val, Refusal> {
        let (ty, id) = (self.entity_ty(&uid.ty.to_string())?, uid.eid.as_str());
        if ty == EntityTy::Role && !self.app.roles.iter().any(|known| known == id) {
            return Err(Refusal::unknown_role(id, &self.app.roles).at(&Expr::Literal(Literal::EntityUID(uid.clone()))));
        }
        if let EntityTy::Thing(kind) = ty
            && !kind.names(self.app).contains(&id)
        {
            return Err(Refusal::unknown_thing(self.app, kind, id).at(&Expr::Literal(Literal::EntityUID(uid.clone()))));
        }
        Ok(Val::Entity(ty, id.into()))
    }

    /// A part of a condition. A refusal names the innermost part that it is about.
    fn expr(&self, expr: &Expr) -> Compiled {
        self.part(expr).map_err(|refusal| refusal.at(expr))
    }

    fn part(&self, expr: &Expr) -> Compiled {
        match expr {
            Expr::Literal(literal) => Ok(Node::Literal(match literal {
                Literal::Bool(flag) => Val::Bool(*flag),
                Literal::Long(i64::MIN) if mutated(Mutation::ClampedLiteral) => Val::Long(-i64::MAX),
                Literal::Long(long) => Val::Long(*long),
                Literal::String(text) => Val::Text(text.as_str().into()),
                Literal::EntityUID(uid) => self.entity(uid)?,
                _ => return refuse("a literal of this kind", "see \"What can be a condition\" in docs/policies.md"),
            })),
            Expr::Var(Var::Principal) => Ok(Node::Principal),
            Expr::Var(Var::Resource) => Ok(Node::Resource),
            Expr::Var(Var::Action) => refuse("`action`", "name the actions in the head"),
            Expr::Var(Var::Context) => {
                refuse("`context` as a whole", "name its attributes: `context.now`, and `context.fields` where something is written")
            }
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { op, left, right } => self.binary(*op, left, right),
            Expr::GetAttr { expr, attr } => self.attribute(expr, attr),
            Expr::HasAttr { expr, attrs } => self.has(expr, &attrs.iter().map(|attr| attr.as_str()).collect::<Vec<_>>()),
            Expr::Like { expr, pattern } => over_ifs([self.expr(expr)?], &|[text]| Ok(Node::Like(Box::new(text), like_parts(pattern)))),
            Expr::Is { expr, entity_type, in_expr } => {
                let base = self.expr(expr)?;
                let ty = self.entity_ty(&entity_type.to_string())?;
                let is = over_ifs([base.clone()], &|[base]| Ok(Node::Is(Box::new(base), ty.clone())))?;
                match in_expr {
                    None => Ok(is),
                    Some(parent) => Ok(Node::And(Box::new(is), Box::new(over_ifs([base, self.expr(parent)?], &within)?))),
                }
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                Ok(Node::If(Box::new(self.expr(cond)?), Box::new(self.expr(then_expr)?), Box::new(self.expr(else_expr)?)))
            }
            Expr::Set(items) => {
                let items = items.iter().map(|item| self.expr(item)).collect::<Result<Vec<_>, _>>()?;
                if items.iter().any(|item| matches!(item.ty(), Ty::Set(_)) && !item.closed()) {
                    return refuse("a set of a row's lists", "compare each list by itself");
                }
                over_ifs_of(items, &|items| Ok(Node::Set(items)))
            }
            Expr::Slot(_) => refuse("a template", "write the policy out"),
            _ => refuse("a record literal", "compare its parts"),
        }
    }

    fn unary(&self, op: UnaryOp, expr: &Expr) -> Compiled {
        let literal = |read: fn(&str) -> Result<i64, String>, of: fn(i64) -> Val| match expr {
            Expr::Literal(Literal::String(text)) => match read(text) {
                Ok(value) => Ok(Node::Literal(of(value))),
                Err(why) => Err(Refusal::new(why, "see \"Literals\" in docs/policies.md")),
            },
            _ => refuse("`decimal(…)`, `datetime(…)` or `duration(…)` of anything but a literal", "write the text out"),
        };
        let function = match op {
            UnaryOp::Not => return Ok(Node::Not(Box::new(self.expr(expr)?))),
            UnaryOp::IsEmpty => return over_ifs([self.expr(expr)?], &|[set]| Ok(Node::IsEmpty(Box::new(set)))),
            UnaryOp::Decimal => return literal(crate::literal::decimal, Val::Decimal),
            UnaryOp::Datetime => return literal(crate::literal::datetime, Val::Datetime),
            UnaryOp::Duration => return literal(crate::literal::duration, Val::Duration),
            UnaryOp::Neg => Function::Negate,
            UnaryOp::ToDate => Function::ToDate,
            UnaryOp::ToTime => Function::ToTime,
            UnaryOp::ToMilliseconds => Function::ToMilliseconds,
            UnaryOp::ToSeconds => Function::ToSeconds,
            UnaryOp::ToMinutes => Function::ToMinutes,
            UnaryOp::ToHours => Function::ToHours,
            UnaryOp::ToDays => Function::ToDays,
            UnaryOp::Ip | UnaryOp::IsIPv4 | UnaryOp::IsIPV6 | UnaryOp::IsLoopback | UnaryOp::IsMulticast => {
                return refuse("an IP address", "no field holds one");
            }
            _ => return refuse("this function", "see \"What can be a condition\" in docs/policies.md"),
        };
        over_ifs([self.expr(expr)?], &|[inner]| match (inner.closed(), function) {
            (true, _) => Ok(Node::Apply(function, Box::new(inner))),
            (false, Function::Negate) => refuse("negation of a row's value", "put the minus on the other side of the comparison"),
            (false, _) => refuse("a date function of a row's value", "apply it to `context.now`, or compare with two times"),
        })
    }

    fn binary(&self, op: BinaryOp, left: &Expr, right: &Expr) -> Compiled {
        if let BinaryOp::And | BinaryOp::Or = op {
            return self.connected(op, left, right);
        }
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        match op {
            BinaryOp::Eq => compare(left, Comparison::Equal, right),
            BinaryOp::NotEq => Ok(Node::Not(Box::new(compare(left, Comparison::Equal, right)?))),
            BinaryOp::Less | BinaryOp::DecimalLessThan => compare(left, Comparison::Less, right),
            BinaryOp::LessEq | BinaryOp::DecimalLessEq => compare(left, Comparison::LessOrEqual, right),
            BinaryOp::Greater | BinaryOp::DecimalGreater => compare(left, Comparison::Greater, right),
            BinaryOp::GreaterEq | BinaryOp::DecimalGreaterEq => compare(left, Comparison::GreaterOrEqual, right),
            BinaryOp::GetTag | BinaryOp::HasTag => refuse("a tag", "declare a field"),
            BinaryOp::IsInRange => refuse("an IP address", "no field holds one"),
            op => over_ifs([left, right], &|[left, right]| operator(op, left, right)),
        }
    }

    /// A chain of `&&` or of `||`, rearranged to lean to the right: its condition then grows with its length, not with the square of it.
    fn connected(&self, op: BinaryOp, left: &Expr, right: &Expr) -> Compiled {
        let mut parts = Vec::new();
        let mut open = vec![right, left];
        while let Some(next) = open.pop() {
            match next {
                Expr::BinaryOp { op: inner, left, right } if *inner == op => open.extend([&**right, &**left]),
                other => parts.push(self.expr(other)?),
            }
            if parts.len() + open.len() > MAX_DEPTH {
                return Err(too_deep());
            }
        }
        let join = if op == BinaryOp::And { Node::And } else { Node::Or };
        Ok(chain(parts, join).unwrap_or(Node::Literal(Val::Bool(op == BinaryOp::And))))
    }

    /// The table whose rows an expression names.
    fn table_of(&self, base: &Node) -> Result<CollectionId, Refusal> {
        match base {
            Node::Resource => match self.subject {
                Subject::Rows(id) => Ok(id),
                Subject::Thing(_) => refuse("an attribute of what is no row", "it has none: name it in the head, or compare it as a whole"),
            },
            Node::Principal => Ok(USERS),
            Node::Literal(_) => refuse("an attribute of a named entity", "follow a reference instead"),
            other => match other.ty() {
                Ty::Entity(EntityTy::Collection(id)) => Ok(id),
                _ => refuse("an attribute of this expression", "follow a reference instead"),
            },
        }
    }

    fn attribute(&self, expr: &Expr, attr: &str) -> Compiled {
        if matches!(expr, Expr::Var(Var::Context)) {
            return match attr {
                "now" => Ok(Node::Now),
                "fields" => Ok(Node::Fields),
                _ => refuse_for(format!("`context.{attr}`"), "its attributes are `context.now`, and `context.fields` where something is written"),
            };
        }
        over_ifs([self.expr(expr)?], &|[base]| {
            let table = self.table_of(&base)?;
            let collection = &self.app.collections[table];
            if let Some(group) = collection.group(attr) {
                return Ok(Node::Group { base: Box::new(base), group: group.clone() });
            }
            let Some(column) = collection.field(attr) else {
                return refuse_for(format!("`{attr}`, which `{}` does not have,", collection.name), "see the schema: `haechi generate cedar`");
            };
            let field = &collection.fields[column];
            let Some(ty) = field_ty(field) else {
                return refuse_for(format!("`{attr}`, a {} that policies do not see,", field.ty.name()), "compare another field");
            };
            Ok(Node::Attribute { base: Box::new(base), table, column, ty, nullable: !field.required })
        })
    }

    fn has(&self, expr: &Expr, attrs: &[&str]) -> Compiled {
        let Some((first, rest)) = attrs.split_first() else { return refuse("an empty `has`", "name a field") };
        if matches!(expr, Expr::Var(Var::Context)) {
            if *first == "fields" {
                return refuse("`context has fields`", "name the actions in the head: `create`, `update` and `write_…` always have it, others never");
            }
            return Ok(Node::Literal(Val::Bool(*first == "now" && rest.is_empty())));
        }
        let has = over_ifs([self.expr(expr)?], &|[base]| {
            let table = self.table_of(&base)?;
            let collection = &self.app.collections[table];
            let column = collection.field(first).filter(|column| field_ty(&collection.fields[*column]).is_some());
            let nullable = column.is_some_and(|column| !collection.fields[column].required);
            Ok(Node::Has { base: Box::new(base), table, column, nullable })
        })?;
        if rest.is_empty() {
            return Ok(has);
        }
        let inner = Expr::GetAttr { expr: std::sync::Arc::new(expr.clone()), attr: (*first).into() };
        Ok(Node::And(Box::new(has), Box::new(self.has(&inner, rest)?)))
    }
}

/// The parts joined so that each holds the rest of the chain as its right side.
fn chain(parts: impl IntoIterator<Item = Node, IntoIter: DoubleEndedIterator>, join: fn(Box<Node>, Box<Node>) -> Node) -> Option<Node> {
    parts.into_iter().rev().reduce(|rest, part| join(Box::new(part), Box::new(rest)))
}

/// Builds a node over each alternative of its operands: `f(if c then a else b)` is `if c then f(a) else f(b)`.
/// So in the result an `if` has conditions as its branches, never values: conditions are what SQL can choose between.
fn over_ifs<const N: usize>(operands: [Node; N], build: &dyn Fn([Node; N]) -> Compiled) -> Compiled {
    over_ifs_of(operands.into(), &|operands| match <[Node; N]>::try_from(operands) {
        Ok(operands) => build(operands),
        Err(_) => refuse("this", "please report it: this is a fault of Haechi"),
    })
}

fn over_ifs_of(operands: Vec<Node>, build: &dyn Fn(Vec<Node>) -> Compiled) -> Compiled {
    if operands.iter().map(alternatives).try_fold(1usize, usize::checked_mul).is_none_or(|all| all > MAX_ALTERNATIVES) {
        return refuse("so many combinations of `if`", "move the `if` outwards, or split the policy");
    }
    let Some(at) = operands.iter().position(|operand| matches!(operand, Node::If(..)) && operand.ty() != Ty::Bool) else { return build(operands) };
    let with = |node: &Node| {
        let mut operands = operands.clone();
        operands[at] = node.clone();
        over_ifs_of(operands, build)
    };
    match &operands[at] {
        Node::If(_, a, _) if mutated(Mutation::IfTakesTheFirst) => with(a),
        Node::If(condition, a, b) => Ok(Node::If(condition.clone(), Box::new(with(a)?), Box::new(with(b)?))),
        _ => build(operands),
    }
}

fn within([child, parent]: [Node; 2]) -> Compiled {
    let is_person = || matches!(child.ty(), Ty::Entity(EntityTy::Caller | EntityTy::Collection(USERS)));
    if matches!(parent, Node::Group { .. }) && !is_person() {
        return refuse("a group that holds anything but people", "write `principal in …`, or a reference to users on the left");
    }
    let is_list = matches!(parent.ty(), Ty::Set(item) if matches!(*item, Ty::Entity(EntityTy::Collection(_))));
    if is_list && !matches!(parent, Node::Set(_)) {
        // Nothing is below the row of a collection but itself.
        return operator(BinaryOp::Contains, parent, child);
    }
    Ok(Node::In(Box::new(child), Box::new(parent)))
}

fn operator(op: BinaryOp, left: Node, right: Node) -> Compiled {
    let (row_left, row_right) = (!left.closed(), !right.closed());
    let (left, right) = (Box::new(left), Box::new(right));
    match op {
        BinaryOp::Add if row_left && row_right => refuse("arithmetic between two values of rows", "compare each with a constant"),
        BinaryOp::Add => Ok(Node::Add(left, right, false)),
        BinaryOp::Sub | BinaryOp::Offset if row_right => {
            refuse("what a row's value is taken from or added to", "move the row's value to the other side of the comparison")
        }
        BinaryOp::Sub => Ok(Node::Add(left, right, true)),
        BinaryOp::Offset => Ok(Node::Add(left, right, false)),
        BinaryOp::Mul if row_left || row_right => refuse("multiplication of a row's value", "divide the constant on the other side"),
        BinaryOp::Mul => Ok(Node::Multiply(left, right)),
        BinaryOp::DurationSince if row_left || row_right => refuse("`durationSince` of a row's value", "compare with `offset` instead"),
        BinaryOp::DurationSince => Ok(Node::Since(left, right)),
        BinaryOp::In => within([*left, *right]),
        BinaryOp::Contains => {
            comparable(item_of(left.ty()), row_left, right.ty(), row_right)?;
            Ok(Node::Contains(left, right))
        }
        BinaryOp::ContainsAll | BinaryOp::ContainsAny => {
            comparable(item_of(left.ty()), row_left, item_of(right.ty()), row_right)?;
            Ok(if op == BinaryOp::ContainsAll { Node::ContainsAll(left, right) } else { Node::ContainsAny(left, right) })
        }
        _ => refuse("this operator", "see \"What can be a condition\" in docs/policies.md"),
    }
}

fn compare(left: Node, comparison: Comparison, right: Node) -> Compiled {
    // Two conditions are compared by when each of them is true or false. No `if` has to be moved out of them.
    if left.ty() == Ty::Bool && right.ty() == Ty::Bool {
        return Ok(Node::Compare(Box::new(left), comparison, Box::new(right)));
    }
    over_ifs([left, right], &|[left, right]| {
        let (row_left, row_right) = (!left.closed(), !right.closed());
        let sets = matches!((left.ty(), right.ty()), (Ty::Set(_), _) | (_, Ty::Set(_)));
        let (left, right) = (Box::new(left), Box::new(right));
        if sets && (row_left || row_right) {
            // Two sets are equal when each contains all of the other.
            let there = operator(BinaryOp::ContainsAll, (*left).clone(), (*right).clone())?;
            return Ok(Node::And(Box::new(there), Box::new(operator(BinaryOp::ContainsAll, *right, *left)?)));
        }
        comparable(left.ty(), row_left, right.ty(), row_right)?;
        Ok(Node::Compare(left, comparison, right))
    })
}

/// Refuses a group that stands anywhere but on the right of `in`.
fn misplaced_group(whole: &Node) -> Option<Refusal> {
    let (mut all, mut placed, mut name) = (0, 0, None);
    whole.each(&mut |node| match node {
        Node::Group { group, .. } => {
            all += 1;
            name.get_or_insert_with(|| group.name.clone());
        }
        Node::In(_, parent) if matches!(**parent, Node::Group { .. }) => placed += 1,
        _ => {}
    });
    (all > placed).then(|| {
        let name = name.unwrap_or_default();
        let message = format!("the group `{name}` stands alone on the right of `in`; anything else of it");
        Refusal::new(format!("{message} cannot be turned into a condition"), "write `principal in resource.GROUP`, and join several groups with `||`")
    })
}

fn item_of(set: Ty) -> Ty {
    match set {
        Ty::Set(item) => *item,
        other => other,
    }
}

/// Refuses what two values of rows, or a row's value among others, cannot be compared as.
fn comparable(left: Ty, row_left: bool, right: Ty, row_right: bool) -> Result<(), Refusal> {
    match (left, right) {
        (Ty::Decimal(a), Ty::Decimal(b)) if row_left && row_right && a != b => {
            refuse("a comparison of decimals of different scale", "give both fields the same scale")
        }
        (Ty::Set(_), _) | (_, Ty::Set(_)) if row_left || row_right => refuse("a row's list among sets", "compare each list by itself"),
        _ => Ok(()),
    }
}

fn field_ty(field: &Field) -> Option<Ty> {
    fn of(ty: &FieldType) -> Option<Ty> {
        Some(match ty {
            FieldType::Text { .. } | FieldType::Email | FieldType::Url | FieldType::Uuid | FieldType::Enum { .. } => Ty::Text,
            FieldType::Int { .. } | FieldType::Int64 { .. } => Ty::Long,
            FieldType::Bool => Ty::Bool,
            FieldType::Datetime(_) | FieldType::Date(_) => Ty::Datetime,
            FieldType::Ref { to, .. } => Ty::Entity(EntityTy::Collection(*to)),
            FieldType::List { of: item, .. } => Ty::Set(Box::new(of(item)?)),
            FieldType::Decimal { .. } => Ty::Decimal(decimal_scale(ty)?),
            FieldType::Float { .. } | FieldType::Json { .. } => return None,
        })
    }
    if field.name == "id" { None } else { of(&field.ty) }
}

fn like_parts(pattern: &[PatternElem]) -> Vec<LikePart> {
    let mut parts: Vec<LikePart> = Vec::new();
    let mut literal = String::new();
    for element in pattern {
        match element {
            PatternElem::Char('*') if mutated(Mutation::UnescapedLike) => parts.push(LikePart::Any),
            PatternElem::Char(c) => literal.push(*c),
            PatternElem::Wildcard => {
                if !literal.is_empty() {
                    parts.push(LikePart::Literal(std::mem::take(&mut literal).into()));
                }
                if parts.last() != Some(&LikePart::Any) {
                    parts.push(LikePart::Any);
                }
            }
        }
    }
    if !literal.is_empty() {
        parts.push(LikePart::Literal(literal.into()));
    }
    parts
}
