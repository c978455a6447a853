//! The app folder, read and checked as a whole.

use crate::{
    action::{VERBS, read_actions},
    checks::resolve_checks,
    class::{Class, Sensitivity},
    collection::Collection,
    config::{Config, ENVIRONMENT, section_of},
    draft::Draft,
    egress::{Egress, read_egress},
    field::{FieldType, OnDelete},
    files::{files, read_file, refuse_later, with_table},
    finding::{Findings, Source},
    groups::resolve_groups,
    job::{DeclaredService, Job, Known, Queue, Schedule, read_jobs, read_services},
    name::{name_problem, reserved_collection, suggest},
    positions::CollectionId,
    section::Section,
};
use std::{
    cell::RefCell,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Each class has at most two actions of its own, and all actions of an app fit into 64 bits.
const MAX_CLASSES: usize = 24;
const MAX_ACTIONS: usize = 64;
const MAX_COLLECTIONS: usize = 500;
/// What anonymous callers may be allowed to do.
pub const ANONYMOUS_VERBS: &[&str] = &["list", "read", "create", "update", "delete", "watch"];

/// A file of `policies/`.
#[derive(Clone, Debug)]
pub struct PolicyFile {
    /// Path and text.
    pub source: Arc<Source>,
}

/// What a folder declares.
#[derive(Clone, Debug)]
pub struct App {
    /// The folder.
    pub root: PathBuf,
    /// Settings.
    pub config: Config,
    /// Classes; the built-in four come first.
    pub classes: Vec<Class>,
    /// Roles.
    pub roles: Vec<String>,
    /// What anonymous callers may reach: collection and verb.
    pub anonymous: Vec<(CollectionId, String)>,
    /// Collections; `users` is the first, the others follow by name.
    pub collections: Vec<Collection>,
    /// Policies by path.
    pub policies: Vec<PolicyFile>,
    /// Policy tests by path.
    pub policy_tests: Vec<Arc<Source>>,
    /// Files of `graphql/`: documents that are known by their hash.
    pub documents: Vec<Arc<Source>>,
    /// Services whose roles the folder declares, by name.
    pub services: Vec<DeclaredService>,
    /// Other services that jobs send requests to, by name.
    pub egress: Vec<Egress>,
    /// Queues in which jobs wait; the first is the one of jobs that name none.
    pub queues: Vec<Queue>,
    /// Jobs by name.
    pub jobs: Vec<Job>,
    /// Schedules, by which jobs are enqueued.
    pub schedules: Vec<Schedule>,
}

impl App {
    /// Reads a folder. Warnings come with the app; errors come instead of it.
    ///
    /// # Errors
    /// All findings of the folder, when at least one of them is an error.
    pub fn load(root: &Path, environment: &[(String, String)]) -> Result<(Self, Findings), Findings> {
        let findings = RefCell::new(Findings::default());
        let app = Self::read(root, environment, &findings);
        let findings = findings.into_inner();
        match app {
            Some(app) if !findings.has_errors() => Ok((app, findings)),
            _ => Err(findings),
        }
    }

    /// The collection of this name.
    #[must_use]
    pub fn collection(&self, name: &str) -> Option<&Collection> {
        self.collections.iter().find(|collection| collection.name == name)
    }

    /// References to a collection: referring collection and field.
    pub fn referrers(&self, to: CollectionId) -> impl Iterator<Item = (&Collection, usize)> {
        self.collections.iter().flat_map(move |collection| {
            collection.fields.iter().enumerate().filter_map(move |(at, field)| match field.ty {
                FieldType::Ref { to: target, .. } if target == to => Some((collection, at)),
                _ => None,
            })
        })
    }

    /// References to a collection, lists of them too, with what deleting a row there does.
    pub fn referring(&self, to: CollectionId) -> impl Iterator<Item = (&Collection, usize, OnDelete)> {
        self.collections.iter().flat_map(move |collection| {
            collection.fields.iter().enumerate().filter_map(move |(at, field)| match field.ty.refers() {
                Some((target, on_delete)) if target == to => Some((collection, at, on_delete)),
                _ => None,
            })
        })
    }

    fn read(root: &Path, environment: &[(String, String)], findings: &RefCell<Findings>) -> Option<Self> {
        if root.is_file() {
            let source = Arc::new(Source { path: root.to_owned(), text: String::new() });
            let help = "name the folder that it is in".to_owned();
            findings.borrow_mut().error(&source, None, "no-folder", format!("{} is a file, not a folder", root.display()), help);
            return None;
        }
        let main = read_file(root, Path::new("haechi.toml"), findings);
        let Some(main) = main else {
            if findings.borrow().list().is_empty() {
                let source = Arc::new(Source { path: PathBuf::from("haechi.toml"), text: String::new() });
                findings.borrow_mut().error(
                    &source,
                    None,
                    "no-folder",
                    format!("{} has no haechi.toml", root.display()),
                    "make a folder with `haechi new NAME`, or name the folder to use: `haechi -C FOLDER …`".to_owned(),
                );
            }
            return None;
        };
        let mut app = Self {
            root: root.to_owned(),
            config: Config::default(),
            classes: Class::built_in(),
            roles: Vec::new(),
            anonymous: Vec::new(),
            collections: Vec::new(),
            policies: Vec::new(),
            policy_tests: Vec::new(),
            documents: Vec::new(),
            services: Vec::new(),
            egress: Vec::new(),
            queues: Vec::new(),
            jobs: Vec::new(),
            schedules: Vec::new(),
        };
        let mut reach = Vec::new();
        with_table(&main, findings, |top| {
            app.config.apply(&top);
            app.read_roles(&top);
            app.read_classes(&top);
            app.services = read_services(&top, &app.roles);
            app.egress = read_egress(&top);
            if let Some(anonymous) = top.section("anonymous") {
                reach = anonymous.texts("reach").unwrap_or_default().into_iter().map(|(text, span)| (text.to_owned(), span)).collect();
                anonymous.finish_with(section_of);
            }
            top.finish_with(section_of);
        });
        app.apply_environment(environment, findings);
        app.config.check(&main, findings);
        app.read_collections(root, findings);
        app.read_reach(&main, &reach, findings);
        app.check_auth(&main, findings);
        refuse_later(root, findings);
        let known = Known { root, classes: &app.classes, collections: &app.collections, services: &app.services, egress: &app.egress };
        (app.queues, app.jobs, app.schedules) = read_jobs(&known, findings);
        for path in files(root, "policies", "cedar", findings) {
            app.policies.extend(read_file(root, &path, findings).map(|source| PolicyFile { source }));
        }
        for path in files(root, "policies/tests", "toml", findings) {
            app.policy_tests.extend(read_file(root, &path, findings));
        }
        for path in files(root, "graphql", "graphql", findings) {
            app.documents.extend(read_file(root, &path, findings));
        }
        Some(app)
    }

    fn read_roles(&mut self, top: &Section<'_>) {
        for (role, span) in top.texts("roles").unwrap_or_default() {
            if let Some(problem) = name_problem(role) {
                top.error(span, "bad-name", problem, "choose another name");
            } else if self.roles.iter().any(|known| known == role) {
                top.error(span, "clash", format!("the role `{role}` is declared twice"), "remove one of them");
            } else {
                self.roles.push(role.to_owned());
            }
        }
    }

    fn read_classes(&mut self, top: &Section<'_>) {
        let Some(classes) = top.section("classes") else { return };
        for (name, span, item) in classes.entries() {
            if self.classes.len() >= MAX_CLASSES {
                classes.error(
                    span,
                    "too-many-classes",
                    format!("the class `{name}` is one too many"),
                    format!("at most {MAX_CLASSES} are allowed, the built-in ones included"),
                );
                break;
            }
            let Some(table) = item.as_table_like() else {
                classes.error(span, "wrong-type", format!("the class `{name}` must be a table"), format!("write {name} = {{ like = \"secret\" }}"));
                continue;
            };
            let section =
                Section::new(classes.source, table, item.span().or_else(|| span.clone()), format!("the class `{name}`"), classes.findings());
            let sensitivity = match section.text("like") {
                Some("internal") => Sensitivity::Internal,
                Some("pii") => Sensitivity::Pii,
                Some("secret") => Sensitivity::Secret,
                _ => {
                    section.error(
                        section.span_of("like"),
                        "wrong-value",
                        section.text("like").map_or_else(|| format!("the class `{name}` needs `like`"), |other| format!("`like` is `{other}`")),
                        "write like = \"internal\", like = \"pii\" or like = \"secret\"",
                    );
                    Sensitivity::Secret
                }
            };
            section.finish();
            if let Some(problem) = name_problem(name) {
                classes.error(span, "bad-name", problem, "choose another name");
            } else if self.classes.iter().any(|known| known.name == name) {
                classes.error(span, "clash", format!("the class `{name}` is built in"), "choose another name");
            } else {
                self.classes.push(Class { name: name.to_owned(), sensitivity });
            }
        }
    }

    /// `HAECHI__SERVER__LISTEN=…` overrides `[server] listen`.
    fn apply_environment(&mut self, environment: &[(String, String)], findings: &RefCell<Findings>) {
        for (name, value) in environment {
            let Some(path) = name.strip_prefix("HAECHI__") else { continue };
            // An error names the variable only: its value may be a secret and is never shown.
            let place = Arc::new(Source { path: PathBuf::from(name), text: String::new() });
            let keys: Vec<String> = path.to_lowercase().split("__").map(str::to_owned).collect();
            let value: toml_edit::Value = value.parse().unwrap_or_else(|_| value.as_str().into());
            let mut document = toml_edit::DocumentMut::new();
            match keys.as_slice() {
                [key] => document[key.as_str()] = toml_edit::value(value),
                [section, key] => document[section.as_str()][key.as_str()] = toml_edit::value(value),
                _ => {
                    let help = "write HAECHI__SECTION__KEY, e.g. HAECHI__SERVER__LISTEN".to_owned();
                    findings.borrow_mut().error(&place, None, "unknown-key", "the environment variable names no key".to_owned(), help);
                    continue;
                }
            }
            let source = Arc::new(Source { path: PathBuf::from(ENVIRONMENT), text: document.to_string() });
            let own = RefCell::new(Findings::default());
            with_table(&source, &own, |top| {
                self.config.apply(&top);
                top.finish();
            });
            for found in own.into_inner().list() {
                let help = if found.code == "literal-secret" {
                    format!("{name}='{{ env = \"NAME\" }}' says where it is; the secret itself goes into the variable NAME")
                } else {
                    found.help.clone()
                };
                findings.borrow_mut().error(&place, None, found.code, found.message.clone(), help);
            }
        }
    }

    fn read_collections(&mut self, root: &Path, findings: &RefCell<Findings>) {
        let mut drafts = vec![Draft::users()];
        for path in files(root, "collections", "toml", findings) {
            let Some(source) = read_file(root, &path, findings) else { continue };
            let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let problem = name_problem(&name).or_else(|| reserved_collection(&name).map(|why| format!("no collection can be named `{name}`: {why}")));
            if let Some(problem) = problem {
                findings.borrow_mut().error(&source, None, "bad-name", problem, "rename the file".to_owned());
                continue;
            }
            if name != "users" {
                drafts.push(Draft::new(&name));
            }
            let at = if name == "users" { 0 } else { drafts.len() - 1 };
            let draft = &mut drafts[at];
            with_table(&source, findings, |top| {
                draft.read(&top, &self.classes);
                draft.collection.actions = read_actions(&top, &self.classes);
                top.finish();
            });
        }
        if drafts.len() > MAX_COLLECTIONS {
            let source = Arc::new(Source { path: PathBuf::from("collections"), text: String::new() });
            findings.borrow_mut().error(
                &source,
                None,
                "too-many-collections",
                format!("{} collections; at most {MAX_COLLECTIONS} are allowed", drafts.len()),
                "split the app".to_owned(),
            );
        }
        let names: Vec<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
        let groups = drafts.iter_mut().enumerate().flat_map(|(id, draft)| draft.groups.drain(..).map(move |group| (id, group))).collect();
        let checks: Vec<_> = drafts.iter_mut().map(|draft| std::mem::take(&mut draft.checks)).collect();
        let mut error = |source: &Arc<Source>, span, message, help| findings.borrow_mut().error(source, span, "unknown-collection", message, help);
        self.collections = drafts.into_iter().enumerate().map(|(id, draft)| draft.finish(id, &names, &mut error)).collect();
        for (collection, checks) in self.collections.iter_mut().zip(checks) {
            resolve_checks(collection, checks, &self.classes, findings);
        }
        resolve_groups(&mut self.collections, groups, &self.classes, findings);
        self.check_clashes(findings);
        self.check_by(findings);
        self.check_actions(findings);
    }

    /// The names of the actions that collections declare, each once, by name.
    #[must_use]
    pub fn declared_actions(&self) -> Vec<&str> {
        let names = self.collections.iter().flat_map(|collection| collection.actions.iter().map(|action| action.name.as_str()));
        names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// A type with its bounds, in words.
    #[must_use]
    pub fn in_words(&self, ty: &FieldType) -> String {
        let names: Vec<String> = self.collections.iter().map(|collection| collection.name.clone()).collect();
        crate::declared::Declared::of(ty, &names).words()
    }

    /// Whether the other app differs in policies only, so that a running house can switch to it.
    #[must_use]
    pub fn same_model(&self, other: &Self) -> bool {
        let same = |(left, right): (&Collection, &Collection)| {
            let same_actions = left.actions.iter().map(|action| (&action.name, &action.input.fields));
            left.table == right.table
                && left.singular == right.singular
                && left.fields == right.fields
                && left.groups == right.groups
                && left.lists == right.lists
                && same_actions.eq(right.actions.iter().map(|action| (&action.name, &action.input.fields)))
        };
        let texts = |app: &Self| app.documents.iter().map(|document| document.text.clone()).collect::<Vec<_>>();
        self.classes == other.classes
            && texts(self) == texts(other)
            && self.collections.len() == other.collections.len()
            && self.collections.iter().zip(&other.collections).all(same)
    }

    fn check_actions(&self, findings: &RefCell<Findings>) {
        let of_classes = self.classes.iter().flat_map(Class::actions).count();
        let left = MAX_ACTIONS - VERBS.len() - of_classes;
        let declared = self.declared_actions().len();
        let Some(source) = self.collections.iter().rev().find(|collection| !collection.actions.is_empty()).and_then(|found| found.source.as_ref())
        else {
            return;
        };
        if declared > left {
            let help = "give actions of the same kind the same name in each collection, or declare fewer classes".to_owned();
            findings.borrow_mut().error(source, None, "too-many-actions", format!("{declared} actions are declared; {left} are allowed"), help);
        }
    }

    fn check_clashes(&self, findings: &RefCell<Findings>) {
        for (at, collection) in self.collections.iter().enumerate() {
            let Some(source) = &collection.source else { continue };
            if let Some(other) = self.collections[..at].iter().find(|other| other.singular == collection.singular) {
                let message = format!("`{}` and `{}` share the singular `{}`", other.name, collection.name, collection.singular);
                findings.borrow_mut().error(source, None, "clash", message, "set `singular` under [collection] in one of them".to_owned());
            }
            if let Some(was) = &collection.was
                && self.collections.iter().any(|other| other.name == *was)
            {
                findings.borrow_mut().error(
                    source,
                    None,
                    "clash",
                    format!("`was = \"{was}\"` names a collection that still exists"),
                    "remove `was`, or the other collection".to_owned(),
                );
            }
            for field in &collection.fields {
                if let Some(was) = &field.was
                    && *was != field.name
                    && collection.field(was).is_some()
                {
                    findings.borrow_mut().error(
                        source,
                        None,
                        "clash",
                        format!("`{}` has `was = \"{was}\"`, which names a field that still exists", field.name),
                        "remove `was`, or the other field".to_owned(),
                    );
                }
            }
        }
    }

    /// The field that finds rows by former values must be unique.
    fn check_by(&self, findings: &RefCell<Findings>) {
        for collection in &self.collections {
            for field in &collection.fields {
                let (Some(by), Some((to, _)), Some(source)) = (&field.by, field.ty.refers(), &collection.source) else { continue };
                let target = &self.collections[to];
                if !target.fields.iter().any(|found| found.name == *by && found.unique) {
                    let message = format!("`{}` has `by = \"{by}\"`, which is no unique field of {}", field.name, target.name);
                    let help = format!("name a field of {} that is declared with `unique`", target.name);
                    findings.borrow_mut().error(source, None, "unknown-field", message, help);
                }
            }
        }
    }

    /// Roles and fields that `[auth]` names must exist.
    fn check_auth(&self, source: &Arc<Source>, findings: &RefCell<Findings>) {
        let auth = &self.config.auth;
        let error = |message: String, help: String| findings.borrow_mut().error(source, None, "unknown-name", message, help);
        if let Some(role) = auth.administrator.as_ref().filter(|role| !self.roles.contains(role)) {
            let help = suggest(role, self.roles.iter().map(String::as_str))
                .map_or_else(|| format!("roles: {}", self.roles.join(", ")), |near| format!("did you mean `{near}`?"));
            error(format!("`administrator` under [auth] names `{role}`, which is no role"), help);
        }
        let Some(users) = self.collections.first() else { return };
        for name in &auth.sign_up_fields {
            // A reference would need a check against what its writer may read, and the caller is unknown at sign-up.
            let may = |field: &crate::field::Field| field.name == *name && !field.read_only && field.ty.refers().is_none();
            if users.fields.iter().any(may) {
                continue;
            }
            let message = format!("`sign_up_fields` under [auth] names `{name}`, which is no field of users that may be set");
            let help = match users.field(name).map(|field| &users.fields[field]) {
                None => format!("declare it: haechi add field users {name}:text; or remove it"),
                Some(field) if field.read_only => "Haechi sets it itself: remove it".to_owned(),
                Some(_) => "remove it: nobody is known yet who could say which rows they may name".to_owned(),
            };
            error(message, help);
        }
        let missing =
            users.declared().find(|(_, field)| field.required && field.default_at(0, None).is_none() && !auth.sign_up_fields.contains(&field.name));
        if let Some((_, field)) = missing.filter(|_| auth.sign_up != crate::config::SignUp::Closed) {
            let help = match field.ty {
                _ if field.ty.refers().is_some() => {
                    "make it optional, or write sign_up = \"closed\": nobody is known yet who could say which row they mean".to_owned()
                }
                _ => format!("add \"{}\" to sign_up_fields under [auth], or give the field a default", field.name),
            };
            error(format!("nobody could sign up: users requires `{}`", field.name), help);
        }
    }

    fn read_reach(&mut self, source: &Arc<Source>, reach: &[(String, Option<std::ops::Range<usize>>)], findings: &RefCell<Findings>) {
        for (text, span) in reach {
            let (name, verb) = text.split_once(':').unwrap_or((text, ""));
            match self.collections.iter().find(|collection| collection.name == name) {
                Some(collection) if ANONYMOUS_VERBS.contains(&verb) => self.anonymous.push((collection.id, verb.to_owned())),
                Some(_) => findings.borrow_mut().error(
                    source,
                    span.clone(),
                    "wrong-value",
                    format!("`{text}` names no action"),
                    format!("write \"{name}:list\"; actions: {}", ANONYMOUS_VERBS.join(", ")),
                ),
                None => {
                    let help = suggest(name, self.collections.iter().map(|collection| collection.name.as_str()))
                        .map_or_else(|| "write \"COLLECTION:list\"".to_owned(), |near| format!("did you mean `{near}`?"));
                    findings.borrow_mut().error(source, span.clone(), "unknown-collection", format!("no collection is named `{name}`"), help);
                }
            }
        }
    }
}
