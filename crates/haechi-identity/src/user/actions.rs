//! Signing up and setting up. No HTTP here.

use crate::{Context, Identity, error::IdentityError, once::Purpose, password::acceptable, throttle::Attempt};
use haechi_gate::SystemError;
use haechi_model::{Actor, Broken, Failure, FieldId, Json, Predicate, SignUp, USERS, Value, person};
use haechi_problem::{FieldProblem, pointer};

const MISS_CODE: u16 = 100;

/// Which fields of a profile may be set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Allowed {
    /// Those that the folder lists for signing up.
    Listed,
    /// All but those that only the server sets.
    All,
}

/// What a person sends to sign up.
pub(crate) struct NewPerson {
    pub(crate) email: String,
    pub(crate) password: String,
    pub(crate) invitation: Option<String>,
    pub(crate) profile: Option<Json>,
}

impl Identity {
    /// Adds a person who signs up. The answer is the same when the address is taken.
    pub(crate) async fn sign_up(&self, new: &NewPerson, context: &Context) -> Result<(), IdentityError> {
        let inner = &*self.0;
        let mode = inner.config().sign_up;
        if mode == SignUp::Closed {
            return Err(IdentityError::Closed);
        }
        inner.attempt(&Attempt::SignUp, context).await?;
        let mut values = self.new_values(&new.email, &new.password, "/password")?;
        values.extend(self.profile(new.profile.as_ref(), Allowed::Listed, "/profile")?);
        let invitation = match (mode, &new.invitation) {
            (SignUp::Invite, Some(code)) => {
                let subject = inner.subject(Purpose::Invitation, code).await?;
                if subject.is_none() || subject != self.canonical_email(&new.email) {
                    return Err(IdentityError::InvalidCode);
                }
                Some(code)
            }
            (SignUp::Invite, None) => return Err(IdentityError::field("/invitation", "required", "a value is required")),
            _ => None,
        };
        let hash = inner.hasher.hash(&new.password).await?;
        match self.add(values, hash, invitation.map(|code| (Purpose::Invitation, code.as_str())), "sign_up", context).await {
            // The same answer in both cases, so that it does not tell whether the address is taken.
            Ok(_) | Err(IdentityError::Taken { email: true, .. }) => Ok(()),
            // Databases differ in which of two taken values they name first: here a taken address always comes first.
            Err(IdentityError::Taken { email: false, .. }) if self.has_address(&new.email).await? => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the first administrator, with the one-time value that was printed at the start.
    pub(crate) async fn set_up(&self, code: &str, new: &NewPerson, context: &Context) -> Result<Box<str>, IdentityError> {
        let inner = &*self.0;
        inner.attempt(&Attempt::Code, context).await?;
        inner.subject(Purpose::Setup, code).await?.ok_or(IdentityError::InvalidCode)?;
        let mut values = self.new_values(&new.email, &new.password, "/password")?;
        values.extend(self.profile(new.profile.as_ref(), Allowed::All, "/profile")?);
        let roles: Vec<String> = self.administrator_role().into_iter().collect();
        values.push((person::ROLES, Value::text(serde_json::Value::from(roles).to_string())));
        let hash = inner.hasher.hash(&new.password).await?;
        self.add(values, hash, Some((Purpose::Setup, code)), "set_up", context).await
    }

    /// The role of administrators: the one that the folder names, else `administrator` or `admin` when it is declared.
    #[must_use]
    pub fn administrator_role(&self) -> Option<String> {
        let app = &self.0.gate.revision().app;
        let declared = |name: &str| app.roles.iter().find(|role| *role == name).cloned();
        app.config.auth.administrator.clone().or_else(|| declared("administrator")).or_else(|| declared("admin"))
    }

    async fn has_address(&self, email: &str) -> Result<bool, IdentityError> {
        match self.canonical_email(email) {
            Some(canonical) => Ok(self.user_by_email(&canonical).await?.is_some()),
            None => Ok(false),
        }
    }

    async fn add(
        &self,
        values: Vec<(FieldId, Value)>,
        hash: String,
        code: Option<(Purpose, &str)>,
        action: &str,
        context: &Context,
    ) -> Result<Box<str>, IdentityError> {
        let inner = &*self.0;
        let mut work = inner.gate.system_work(&inner.key, Actor { kind: "anonymous", id: "anonymous".into() }, &context.request_id);
        if let Some((purpose, code)) = code {
            inner.consume(&mut work, purpose, code, MISS_CODE);
            // The first administrator must be the first person: a code is void when a person was added meanwhile.
            if purpose == Purpose::Setup {
                work.fewer(inner.tables.users, Predicate::True, 1, MISS_CODE);
            }
        }
        inner.no_setup_any_more(&mut work);
        let (id, slot) = work.insert_user(&values);
        self.put_password(&mut work, &id, hash);
        work.entry("create", Some(&id), None, Some(slot), format!("\"by\":\"{action}\""));
        match work.commit().await {
            Ok(_) => Ok(id),
            Err(SystemError::Missed(MISS_CODE)) => Err(IdentityError::InvalidCode),
            Err(SystemError::Store(Failure::Dangling { .. })) => {
                Err(IdentityError::field("/profile", "unknown_reference", "names a record that is not there"))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn new_values(&self, email: &str, password: &str, at: &str) -> Result<Vec<(FieldId, Value)>, IdentityError> {
        let value = self.read_email(email)?;
        acceptable(password, &self.about(email), at)?;
        Ok(vec![(person::EMAIL, value)])
    }

    pub(crate) fn read_email(&self, email: &str) -> Result<Value, IdentityError> {
        let revision = self.0.gate.revision();
        let field = &revision.app.collections[USERS].fields[person::EMAIL];
        field.read(&Json::Text(email.into())).map_err(|error| IdentityError::field("/email", error.code, &error.detail))
    }

    /// The profile fields that a person may set; the folder lists them.
    pub(super) fn profile(&self, profile: Option<&Json>, allowed: Allowed, base: &str) -> Result<Vec<(FieldId, Value)>, IdentityError> {
        let revision = self.0.gate.revision();
        let (users, listed) = (&revision.app.collections[USERS], &revision.app.config.auth.sign_up_fields);
        let may = |field: &FieldId| match allowed {
            Allowed::Listed => listed.contains(&users.fields[*field].name),
            Allowed::All => !users.fields[*field].read_only && *field != person::EMAIL,
        };
        let members = match profile {
            None => &[][..],
            Some(Json::Object(members)) => members,
            Some(_) => return Err(IdentityError::field(base, "wrong_type", "must be an object")),
        };
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        let mut wrong = |name: &str, code, detail: String| errors.push(FieldProblem { pointer: pointer(base, name), code, detail });
        for (name, json) in members {
            match users.field(name).filter(may) {
                None => wrong(name, "unknown_field", "is no field that can be set here".to_owned()),
                Some(field) => match users.fields[field].read(json) {
                    // Null counts as absent: defaults fill it in, and missing required fields are reported below.
                    Ok(value) if value.is_null() => {}
                    Ok(value) => values.push((field, value)),
                    Err(error) => wrong(name, error.code, error.detail),
                },
            }
        }
        for (at, field) in users.declared() {
            let given = values.iter().any(|(known, value)| *known == at && !value.is_null());
            if field.required && field.default_at(0, None).is_none() && !given {
                wrong(&field.name, "required", "a value is required".to_owned());
            }
        }
        match users.broken_by(&users.new_row("", &values, self.0.gate.clock().now_ms(), None)) {
            // An operator may begin with any word, as with imports.
            Some(Broken::Initial(at)) if allowed == Allowed::Listed => {
                let words = users.fields[at].rules.initial.clone().unwrap_or_default();
                wrong(&users.fields[at].name, "not_initial", format!("a new record begins with {}", words.join(" or ")));
            }
            Some(Broken::Check(check)) => {
                let field = users.checks[check].fields.first().map_or("", |at| users.fields[*at].name.as_str());
                wrong(field, "check", users.checks[check].words());
            }
            Some(Broken::Initial(_)) | None => {}
        }
        if errors.is_empty() { Ok(values) } else { Err(IdentityError::Fields(errors)) }
    }
}
