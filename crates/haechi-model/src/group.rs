//! A group: people whom rows of a joining collection put into it. Each row of the collection that declares it has one.

use crate::predicate::Predicate;

/// How many ancestors an inherited group looks at.
pub const MAX_ANCESTORS: usize = 16;

/// A group of a collection. Positions are those of collections and of their columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Its name in policies: an attribute of the collection's rows.
    pub name: String,
    /// How the folder declares it, in one line.
    pub declared: String,
    /// The collection that declares it.
    pub of: usize,
    /// The collection whose rows say who is in it.
    pub joining: usize,
    /// The column there that names a person.
    pub who: usize,
    /// The column there that names the row whose group it is.
    pub by: usize,
    /// Which of the joining rows count. It looks at their own columns alone.
    pub filter: Predicate,
    /// The column of the declaring collection that names a row of it, whose members are members here, too.
    pub inherits: Option<usize>,
}

impl Group {
    /// The row's id and those of its ancestors, nearest first, and whether they are all of them: the chain ends within
    /// [`MAX_ANCESTORS`], or comes back to a row that it has met.
    pub fn chain<Id: PartialEq + Clone>(&self, of: &Id, mut parent: impl FnMut(&Id) -> Option<Id>) -> (Vec<Id>, bool) {
        let mut chain = vec![of.clone()];
        if self.inherits.is_none() {
            return (chain, true);
        }
        loop {
            let Some(next) = chain.last().and_then(&mut parent) else { return (chain, true) };
            if chain.contains(&next) && chain.len() <= MAX_ANCESTORS {
                return (chain, true);
            }
            if chain.len() > MAX_ANCESTORS {
                return (chain, false);
            }
            chain.push(next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_comes_back_or_is_too_long() {
        let group = Group {
            name: "viewers".to_owned(),
            declared: String::new(),
            of: 1,
            joining: 2,
            who: 4,
            by: 5,
            filter: Predicate::True,
            inherits: Some(4),
        };
        let line = |length: usize| move |id: &usize| (*id < length).then_some(id + 1);
        assert_eq!(group.chain(&0, line(0)), (vec![0], true));
        assert_eq!(group.chain(&0, line(16)), ((0..=16).collect(), true));
        assert_eq!(group.chain(&0, line(17)), ((0..=16).collect(), false));
        // Circles: the longest that is seen through has 16 rows.
        let circle = |length: usize| move |id: &usize| Some((id + 1) % length);
        assert_eq!(group.chain(&0, circle(1)), (vec![0], true));
        assert_eq!(group.chain(&0, circle(16)), ((0..16).collect(), true));
        assert_eq!(group.chain(&0, circle(17)), ((0..17).collect(), false));
        assert_eq!(Group { inherits: None, ..group }.chain(&0, circle(3)), (vec![0], true));
    }
}
