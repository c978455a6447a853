//! The sections of the doors beside REST.

use super::Config;
use crate::section::Section;

/// `[graphql]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphqlConfig {
    /// Whether known callers may look at the schema in `serve`; `dev` always shows it.
    pub introspection: bool,
    /// Whether only the documents in `graphql/` of the folder are executed.
    pub only_known: bool,
    /// Most tokens of a document.
    pub tokens: usize,
    /// Deepest selection.
    pub depth: usize,
    /// Most aliases of an operation.
    pub aliases: usize,
    /// Most records that an operation may ask for, by its page sizes.
    pub cost: u64,
    /// Most operations of one request.
    pub batch: usize,
}

impl Default for GraphqlConfig {
    fn default() -> Self {
        Self { introspection: false, only_known: false, tokens: 4_000, depth: 12, aliases: 30, cost: 5_000, batch: 10 }
    }
}

impl GraphqlConfig {
    pub(super) fn effective(&self) -> Vec<(&'static str, String)> {
        vec![
            ("graphql.introspection", self.introspection.to_string()),
            ("graphql.only_known", self.only_known.to_string()),
            ("graphql.tokens", self.tokens.to_string()),
            ("graphql.depth", self.depth.to_string()),
            ("graphql.aliases", self.aliases.to_string()),
            ("graphql.cost", self.cost.to_string()),
            ("graphql.batch", self.batch.to_string()),
        ]
    }
}

/// `[grpc]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcConfig {
    /// Whether known callers may list the services in `serve`; `dev` always shows them.
    pub reflection: bool,
}

/// `[live]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveConfig {
    /// Most open streams.
    pub streams: usize,
    /// Most open streams of one caller, or of one network without credentials.
    pub streams_per_caller: usize,
    /// How long changes are kept for streams that continue where they ended.
    pub keep_hours: i64,
    /// How many bytes of changes are kept at most.
    pub keep_bytes: i64,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self { streams: 20_000, streams_per_caller: 100, keep_hours: 24, keep_bytes: 1 << 30 }
    }
}

impl LiveConfig {
    pub(super) fn effective(&self) -> Vec<(&'static str, String)> {
        vec![
            ("live.streams", self.streams.to_string()),
            ("live.streams_per_caller", self.streams_per_caller.to_string()),
            ("live.keep_hours", self.keep_hours.to_string()),
            ("live.keep_bytes", self.keep_bytes.to_string()),
        ]
    }
}

impl Config {
    pub(super) fn apply_live(&mut self, section: &Section<'_>) {
        let live = &mut self.live;
        let mut set = Vec::new();
        let sizes = [("streams", "live.streams", &mut live.streams), ("streams_per_caller", "live.streams_per_caller", &mut live.streams_per_caller)];
        for (name, key, place) in sizes {
            if let Some(found) = section.bounded(name, 1..=1_000_000).and_then(|found| usize::try_from(found).ok()) {
                *place = found;
                set.push(key);
            }
        }
        if let Some(found) = section.bounded("keep_hours", 1..=24 * 30) {
            live.keep_hours = found;
            set.push("live.keep_hours");
        }
        if let Some(found) = section.bounded("keep_bytes", 1 << 20..=1 << 40) {
            live.keep_bytes = found;
            set.push("live.keep_bytes");
        }
        for key in set {
            self.origin(key, section);
        }
    }

    pub(super) fn apply_grpc(&mut self, section: &Section<'_>) {
        if let Some(flag) = section.bool("reflection") {
            self.grpc.reflection = flag;
            self.origin("grpc.reflection", section);
        }
    }

    pub(super) fn apply_graphql(&mut self, section: &Section<'_>) {
        if let Some(flag) = section.bool("introspection") {
            self.graphql.introspection = flag;
            self.origin("graphql.introspection", section);
        }
        if let Some(flag) = section.bool("only_known") {
            self.graphql.only_known = flag;
            self.origin("graphql.only_known", section);
        }
        let graphql = &mut self.graphql;
        let sizes: [(&'static str, &'static str, std::ops::RangeInclusive<i64>, &mut usize); 4] = [
            ("tokens", "graphql.tokens", 100..=50_000, &mut graphql.tokens),
            ("depth", "graphql.depth", 1..=50, &mut graphql.depth),
            ("aliases", "graphql.aliases", 0..=1_000, &mut graphql.aliases),
            ("batch", "graphql.batch", 1..=100, &mut graphql.batch),
        ];
        let mut set = Vec::new();
        for (name, key, bounds, place) in sizes {
            if let Some(found) = section.bounded(name, bounds).and_then(|found| usize::try_from(found).ok()) {
                *place = found;
                set.push(key);
            }
        }
        if let Some(found) = section.bounded("cost", 1..=10_000_000) {
            graphql.cost = found.unsigned_abs();
            set.push("graphql.cost");
        }
        for key in set {
            self.origin(key, section);
        }
    }
}
