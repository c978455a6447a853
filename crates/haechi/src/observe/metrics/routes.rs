//! Requests by route, method and status.

use crate::observe::requests::Told;
use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::{Registry, Unit},
};
use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock, atomic::AtomicU64},
};

/// Requests by the pattern of their route. Patterns, methods and statuses are few, for all possible requests.
pub(super) struct Routes {
    requests: Family<RouteLabels, Counter>,
    time: Family<RouteLabels, Counter<f64, AtomicU64>>,
    /// Counters that exist already, by route: using them again allocates nothing.
    known: RwLock<HashMap<Box<str>, Vec<Known>>>,
}

type RouteLabels = [(&'static str, String); 3];

/// The counters of a method and a status of a route.
struct Known {
    method: &'static str,
    status: u16,
    requests: Counter,
    time: Counter<f64, AtomicU64>,
}

impl Known {
    fn count(&self, told: &Told) {
        self.requests.inc();
        self.time.inc_by(told.took.as_secs_f64());
    }
}

impl Routes {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let routes = Self { requests: Family::default(), time: Family::default(), known: RwLock::default() };
        registry.register("http_route_requests", "Requests that were answered, by route, method and status", routes.requests.clone());
        registry.register_with_unit("http_route_duration", "Time from their heads to their replies, in all", Unit::Seconds, routes.time.clone());
        routes
    }

    pub(super) fn answered(&self, told: &Told) {
        let same = |known: &&Known| known.method == told.method && known.status == told.status;
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.get(told.route()).and_then(|all| all.iter().find(same)) {
                return known.count(told);
            }
        }
        let labels = [("route", told.route().to_owned()), ("method", told.method.to_owned()), ("status", told.status.to_string())];
        let (requests, time) = (self.requests.get_or_create(&labels).clone(), self.time.get_or_create(&labels).clone());
        let new = Known { method: told.method, status: told.status, requests, time };
        new.count(told);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let all = known.entry(told.route().into()).or_default();
        if !all.iter().any(|known| same(&known)) {
            all.push(new);
        }
    }
}
