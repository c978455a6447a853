//! Planted faults that the property test must find. They exist in test builds only.

/// A fault.
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
    /// The smallest number taken away is an error.
    NoSmallestNumber,
    /// Errors of a set literal's items are not looked for.
    NoItemGuard,
    /// Values of rows in a set literal are left out.
    KnownItemsOnly,
    /// `containsAll` of a row's list asks for one of its elements only.
    WithinIsOverlap,
    /// An `if` that chooses a value always takes the first.
    IfTakesTheFirst,
    /// A `has` on one side of `||` counts as known after it.
    OrHoldsBoth,
    /// A literal at the end of the range is off by one.
    ClampedLiteral,
    /// A duration of the smallest number of milliseconds is the next one.
    ClampedDuration,
    /// A person that is not there counts as outside of a group.
    NobodyIsOutside,
    /// Who is not found among the nearest ancestors counts as outside of an inherited group.
    DeepIsOutside,
    /// No field counts as written.
    FieldsAreForgotten,
    /// Before the fields are known, what some of them could allow is refused.
    UnknownFieldsAreNone,
}

#[cfg(test)]
impl Mutation {
    /// All that are faults.
    pub(crate) const ALL: [Self; 16] = [
        Self::FalseAndWithoutTrue,
        Self::NoNullGuard,
        Self::ErringForbidIsSkipped,
        Self::UnescapedLike,
        Self::NoSmallestNumber,
        Self::NoItemGuard,
        Self::KnownItemsOnly,
        Self::WithinIsOverlap,
        Self::IfTakesTheFirst,
        Self::OrHoldsBoth,
        Self::ClampedLiteral,
        Self::ClampedDuration,
        Self::NobodyIsOutside,
        Self::DeepIsOutside,
        Self::FieldsAreForgotten,
        Self::UnknownFieldsAreNone,
    ];
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Mutation> = const { std::cell::Cell::new(Mutation::None) };
}

/// What this thread has planted.
pub(crate) fn planted() -> Mutation {
    #[cfg(test)]
    return PLANTED.get();
    #[cfg(not(test))]
    Mutation::None
}

/// Plants a fault in this thread.
pub(crate) fn plant(mutation: Mutation) {
    #[cfg(test)]
    PLANTED.set(mutation);
    #[cfg(not(test))]
    let _ = mutation;
}

#[inline(always)]
pub(crate) fn mutated(mutation: Mutation) -> bool {
    cfg!(test) && planted() == mutation
}
