//! Cedar's syntax tree to a plan. What cannot become SQL is refused here, with the reason.

use crate::{
    mutation::{Mutation, mutated},
    node::{EntityTy, Function, Node, Ty, Val},
    schema::decimal_scale,
};
use cedar_policy::pst::{
    BinaryOp, Clause, EntityOrSlot, EntityUID, Expr, Literal, PatternElem, PrincipalConstraint, ResourceConstraint, UnaryOp, Var,
};
use haechi_model::{App, CollectionId, Comparison, Field, FieldType, LikePart, USERS};

/// The most nodes that one policy may grow to as a condition.
const MAX_PLAN_NODES: usize = 2_000;

/// Compiles the policies of one collection: `resource` is a row of it.
pub(crate) struct Compiler<'a> {
    pub(crate) app: &'a App,
    pub(crate) collection: CollectionId,
}

type Compiled = Result<Node, String>;

fn refuse<T>(what: &str) -> Result<T, String> {
    Err(format!("{what} cannot be turned into a condition on rows"))
}

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
        let whole =
            parts.into_iter().filter(|part| *part != always).reduce(|left, right| Node::And(Box::new(left), Box::new(right))).unwrap_or(always);
        if expansion(&whole).0 > MAX_PLAN_NODES {
            return Err(format!("the conditions grow to more than {MAX_PLAN_NODES} parts; split the policy"));
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
            ResourceConstraint::Is(ty) => Node::Literal(Val::Bool(self.entity_ty(&ty.to_string())? == EntityTy::Collection(self.collection))),
            ResourceConstraint::IsIn(ty, entity) => {
                if self.entity_ty(&ty.to_string())? == EntityTy::Collection(self.collection) {
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
            EntityOrSlot::Slot(_) => Err("templates are not used: write the policy out".to_owned()),
        }
    }

    fn entity_ty(&self, name: &str) -> Result<EntityTy, String> {
        Ok(match name {
            "Role" => EntityTy::Role,
            "services" => EntityTy::Service,
            "Anonymous" => EntityTy::Anonymous,
            "Action" => EntityTy::Action,
            name => EntityTy::Collection(self.app.collection(name).ok_or_else(|| format!("no collection is named `{name}`"))?.id),
        })
    }

    fn entity(&self, uid: &EntityUID) -> Result<Val, String> {
        Ok(Val::Entity(self.entity_ty(&uid.ty.to_string())?, uid.eid.as_str().into()))
    }

    fn expr(&self, expr: &Expr) -> Compiled {
        match expr {
            Expr::Literal(literal) => Ok(Node::Literal(match literal {
                Literal::Bool(flag) => Val::Bool(*flag),
                Literal::Long(long) => Val::Long(*long),
                Literal::String(text) => Val::Text(text.as_str().into()),
                Literal::EntityUID(uid) => self.entity(uid)?,
                _ => return refuse("a literal of this kind"),
            })),
            Expr::Var(Var::Principal) => Ok(Node::Principal),
            Expr::Var(Var::Resource) => Ok(Node::Resource),
            Expr::Var(Var::Action) => refuse("`action` in a condition (name the actions in the head)"),
            Expr::Var(Var::Context) => refuse("`context` as a whole"),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr),
            Expr::BinaryOp { op, left, right } => self.binary(*op, left, right),
            Expr::GetAttr { expr, attr } => self.attribute(expr, attr),
            Expr::HasAttr { expr, attrs } => self.has(expr, &attrs.iter().map(|attr| attr.as_str()).collect::<Vec<_>>()),
            Expr::Like { expr, pattern } => Ok(Node::Like(Box::new(self.expr(expr)?), like_parts(pattern))),
            Expr::Is { expr, entity_type, in_expr } => {
                let base = self.expr(expr)?;
                let is = Node::Is(Box::new(base.clone()), self.entity_ty(&entity_type.to_string())?);
                match in_expr {
                    None => Ok(is),
                    Some(parent) => Ok(Node::And(Box::new(is), Box::new(Node::In(Box::new(base), Box::new(self.expr(parent)?))))),
                }
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                Ok(Node::If(Box::new(self.expr(cond)?), Box::new(self.expr(then_expr)?), Box::new(self.expr(else_expr)?)))
            }
            Expr::Set(items) => Ok(Node::Set(items.iter().map(|item| self.expr(item)).collect::<Result<_, _>>()?)),
            Expr::Slot(_) => Err("templates are not used: write the policy out".to_owned()),
            _ => refuse("a record literal"),
        }
    }

    fn unary(&self, op: UnaryOp, expr: &Expr) -> Compiled {
        let literal = |expr: &Expr| match expr {
            Expr::Literal(Literal::String(text)) => Ok(text.as_str().to_owned()),
            _ => refuse::<String>("an extension value that is not a literal"),
        };
        let function = match op {
            UnaryOp::Not => return Ok(Node::Not(Box::new(self.expr(expr)?))),
            UnaryOp::IsEmpty => return Ok(Node::IsEmpty(Box::new(self.expr(expr)?))),
            UnaryOp::Decimal => return crate::literal::decimal(&literal(expr)?).map(|value| Node::Literal(Val::Decimal(value))),
            UnaryOp::Datetime => return crate::literal::datetime(&literal(expr)?).map(|value| Node::Literal(Val::Datetime(value))),
            UnaryOp::Duration => return crate::literal::duration(&literal(expr)?).map(|value| Node::Literal(Val::Duration(value))),
            UnaryOp::Neg => Function::Negate,
            UnaryOp::ToDate => Function::ToDate,
            UnaryOp::ToTime => Function::ToTime,
            UnaryOp::ToMilliseconds => Function::ToMilliseconds,
            UnaryOp::ToSeconds => Function::ToSeconds,
            UnaryOp::ToMinutes => Function::ToMinutes,
            UnaryOp::ToHours => Function::ToHours,
            UnaryOp::ToDays => Function::ToDays,
            UnaryOp::Ip | UnaryOp::IsIPv4 | UnaryOp::IsIPV6 | UnaryOp::IsLoopback | UnaryOp::IsMulticast => return refuse("an IP address"),
            _ => return refuse("this function"),
        };
        let inner = self.expr(expr)?;
        if !inner.closed() {
            return refuse("negation or a date function of a row's value");
        }
        Ok(Node::Apply(function, Box::new(inner)))
    }

    fn binary(&self, op: BinaryOp, left: &Expr, right: &Expr) -> Compiled {
        let (left, right) = (Box::new(self.expr(left)?), Box::new(self.expr(right)?));
        let either_closed = left.closed() || right.closed();
        let both_closed = left.closed() && right.closed();
        let compare = |comparison| self.comparison(left.clone(), comparison, right.clone());
        match op {
            BinaryOp::Eq => compare(Comparison::Equal),
            BinaryOp::NotEq => Ok(Node::Not(Box::new(compare(Comparison::Equal)?))),
            BinaryOp::Less | BinaryOp::DecimalLessThan => compare(Comparison::Less),
            BinaryOp::LessEq | BinaryOp::DecimalLessEq => compare(Comparison::LessOrEqual),
            BinaryOp::Greater | BinaryOp::DecimalGreater => compare(Comparison::Greater),
            BinaryOp::GreaterEq | BinaryOp::DecimalGreaterEq => compare(Comparison::GreaterOrEqual),
            BinaryOp::And => Ok(Node::And(left, right)),
            BinaryOp::Or => Ok(Node::Or(left, right)),
            BinaryOp::Add if either_closed => Ok(Node::Add(left, right, false)),
            BinaryOp::Sub if right.closed() => Ok(Node::Add(left, right, true)),
            BinaryOp::Offset if right.closed() => Ok(Node::Add(left, right, false)),
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Offset => refuse("arithmetic between two values of rows"),
            BinaryOp::Mul if both_closed => Ok(Node::Multiply(left, right)),
            BinaryOp::Mul => refuse("multiplication of a row's value"),
            BinaryOp::DurationSince if both_closed => Ok(Node::Since(left, right)),
            BinaryOp::DurationSince => refuse("`durationSince` of a row's value (compare with `offset` instead)"),
            BinaryOp::In => Ok(Node::In(left, right)),
            BinaryOp::Contains => Ok(Node::Contains(left, right)),
            BinaryOp::ContainsAll if right.closed() => Ok(Node::ContainsAll(left, right)),
            BinaryOp::ContainsAny if right.closed() => Ok(Node::ContainsAny(left, right)),
            BinaryOp::ContainsAny if left.closed() => Ok(Node::ContainsAny(right, left)),
            BinaryOp::ContainsAll | BinaryOp::ContainsAny => refuse("containment between two lists of rows"),
            BinaryOp::GetTag | BinaryOp::HasTag => refuse("a tag"),
            BinaryOp::IsInRange => refuse("an IP address"),
            _ => refuse("this operator"),
        }
    }

    fn comparison(&self, left: Box<Node>, comparison: Comparison, right: Box<Node>) -> Compiled {
        let both_closed = left.closed() && right.closed();
        match (left.ty(), right.ty()) {
            (Ty::Set(_), _) | (_, Ty::Set(_)) if !both_closed => return refuse("equality of a row's list"),
            (Ty::Decimal(a), Ty::Decimal(b)) if !left.closed() && !right.closed() && a != b => {
                return refuse("a comparison of decimals of different scale");
            }
            _ => {}
        }
        Ok(Node::Compare(left, comparison, right))
    }

    /// The table whose rows an expression names.
    fn table_of(&self, base: &Node) -> Result<CollectionId, String> {
        match base {
            Node::Resource => Ok(self.collection),
            Node::Principal => Ok(USERS),
            Node::Literal(_) => refuse("an attribute of a named entity"),
            other => match other.ty() {
                Ty::Entity(EntityTy::Collection(id)) => Ok(id),
                _ => refuse("an attribute of this expression"),
            },
        }
    }

    fn attribute(&self, expr: &Expr, attr: &str) -> Compiled {
        if matches!(expr, Expr::Var(Var::Context)) {
            return if attr == "now" { Ok(Node::Now) } else { Err(format!("`context` has no attribute `{attr}`")) };
        }
        let base = self.expr(expr)?;
        if matches!(base, Node::If(..)) {
            return refuse("an attribute of an `if`");
        }
        let table = self.table_of(&base)?;
        let collection = &self.app.collections[table];
        let column = collection.field(attr).ok_or_else(|| format!("`{}` has no attribute `{attr}`", collection.name))?;
        let field = &collection.fields[column];
        let ty = field_ty(field).ok_or_else(|| format!("policies cannot see `{attr}`: it is a {}", field.ty.name()))?;
        Ok(Node::Attribute { base: Box::new(base), table, column, ty, nullable: !field.required })
    }

    fn has(&self, expr: &Expr, attrs: &[&str]) -> Compiled {
        let Some((first, rest)) = attrs.split_first() else { return refuse("an empty `has`") };
        if matches!(expr, Expr::Var(Var::Context)) {
            return Ok(Node::Literal(Val::Bool(*first == "now" && rest.is_empty())));
        }
        let base = self.expr(expr)?;
        let table = self.table_of(&base)?;
        let collection = &self.app.collections[table];
        let column = collection.field(first).filter(|column| field_ty(&collection.fields[*column]).is_some());
        let nullable = column.is_some_and(|column| !collection.fields[column].required);
        let has = Node::Has { base: Box::new(base), table, column, nullable };
        if rest.is_empty() {
            return Ok(has);
        }
        let inner = Expr::GetAttr { expr: std::sync::Arc::new(expr.clone()), attr: (*first).into() };
        Ok(Node::And(Box::new(has), Box::new(self.has(&inner, rest)?)))
    }
}

fn field_ty(field: &Field) -> Option<Ty> {
    fn of(ty: &FieldType) -> Option<Ty> {
        Some(match ty {
            FieldType::Text { .. } | FieldType::Email | FieldType::Url | FieldType::Uuid | FieldType::Enum { .. } => Ty::Text,
            FieldType::Int { .. } | FieldType::Int64 { .. } => Ty::Long,
            FieldType::Bool => Ty::Bool,
            FieldType::Datetime | FieldType::Date => Ty::Datetime,
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
        Node::Compare(a, _, b) | Node::In(a, b) | Node::Contains(a, b) | Node::ContainsAll(a, b) | Node::ContainsAny(a, b) => {
            let (a, b) = (expansion(a), expansion(b));
            let all = sum(sum(a.0, a.1), sum(b.0, b.1));
            (sum(all, 1), sum(all, 1))
        }
        Node::Set(items) => {
            let all = items.iter().map(|item| expansion(item).0).fold(1, sum);
            (all, all)
        }
        Node::Literal(Val::Set(items)) => (items.len(), items.len()),
        _ => (1, 1),
    }
}
