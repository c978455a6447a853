//! What jobs may name.

use super::DeclaredService;
use crate::{class::Class, collection::Collection, egress::Egress};
use std::path::Path;

/// What jobs name.
pub(crate) struct Known<'a> {
    pub(crate) root: &'a Path,
    pub(crate) classes: &'a [Class],
    pub(crate) collections: &'a [Collection],
    pub(crate) services: &'a [DeclaredService],
    pub(crate) egress: &'a [Egress],
}
