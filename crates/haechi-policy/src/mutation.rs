//! Planted faults that the property test must find. They exist in test builds only.

/// A fault.
#[cfg_attr(not(test), expect(dead_code, reason = "planted by tests only"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    None,
    /// `F(a && b) = F(a) OR F(b)`.
    FalseAndWithoutTrue,
    /// The non-NULL guard of `[..].contains(column)` is missing.
    NoNullGuard,
    /// A forbid that errors is skipped, as Cedar does.
    ErringForbidIsSkipped,
    /// `like` does not escape.
    UnescapedLike,
}

#[cfg(test)]
thread_local! {
    pub(crate) static PLANTED: std::cell::Cell<Mutation> = const { std::cell::Cell::new(Mutation::None) };
}

#[cfg(test)]
pub(crate) fn mutated(mutation: Mutation) -> bool {
    PLANTED.get() == mutation
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn mutated(_: Mutation) -> bool {
    false
}
