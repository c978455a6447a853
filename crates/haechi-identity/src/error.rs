//! All errors of this crate's actions; one function turns them into problems.

use haechi_gate::{Refusal, SystemError};
use haechi_model::{Failure, JsonError};
use haechi_problem::{FieldProblem, Problem, kinds as kind};
use thiserror::Error;

/// The unique index of addresses.
const EMAIL_INDEX: &str = "users__email__key";

/// Why an action was not done.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The body is not JSON.
    #[error("the body is not JSON")]
    Json(#[from] JsonError),
    /// The body has another shape, or is too large.
    #[error("the request does not have the right shape")]
    Shape(&'static str),
    /// The body is too large.
    #[error("the body is too large")]
    TooLarge,
    /// The body is not declared as JSON.
    #[error("the media type is not JSON")]
    MediaType,
    /// Fields of the body.
    #[error("fields are not valid")]
    Fields(Vec<FieldProblem>),
    /// Address or password are wrong, or sign-in with them is not allowed.
    #[error("the sign-in failed")]
    SignInFailed,
    /// There were too many attempts.
    #[error("too many attempts")]
    TooManyAttempts {
        /// When the next one is counted.
        retry_after_s: u32,
        /// Whether it was an attempt to sign in: a known device has its own count.
        signs_in: bool,
    },
    /// The caller is unknown, or has no session.
    #[error("refused")]
    Refused(Refusal),
    /// A credential of this kind may not do this.
    #[error("another kind of credential is needed")]
    WrongCredential(&'static str),
    /// The sign-in is too long ago.
    #[error("a fresh sign-in is needed")]
    Stale,
    /// Signing up is closed.
    #[error("sign-up is closed")]
    Closed,
    /// A one-time value is not valid.
    #[error("the code is not valid")]
    InvalidCode,
    /// It does not exist, or is hidden from the caller.
    #[error("not found")]
    NotFound,
    /// A unique value is taken.
    #[error("a unique value is taken")]
    Taken {
        /// Whether it is the address.
        email: bool,
        /// The fields, when it is not.
        fields: Vec<String>,
    },
    /// Too much is being hashed.
    #[error("too many passwords wait to be hashed")]
    Busy,
    /// The database failed.
    #[error("the database failed")]
    Store(Failure),
}

impl From<Failure> for IdentityError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure)
    }
}

impl From<SystemError> for IdentityError {
    fn from(error: SystemError) -> Self {
        match error {
            SystemError::Missed(_) => Self::Store(Failure::Busy),
            SystemError::NotUnique { index, fields } => Self::Taken { email: &*index == EMAIL_INDEX, fields },
            SystemError::Store(failure) => Self::Store(failure),
        }
    }
}

impl IdentityError {
    /// One field that is not valid.
    pub(crate) fn field(pointer: &str, code: &'static str, detail: &str) -> Self {
        Self::Fields(vec![FieldProblem { pointer: pointer.to_owned(), code, detail: detail.to_owned() }])
    }

    /// The problem that the client gets.
    #[must_use]
    pub fn problem(&self) -> Problem {
        match self {
            Self::Json(error) => Problem::new(kind::MALFORMED, format!("The body is not JSON: {error}.")),
            Self::Shape(what) => Problem::new(kind::MALFORMED, *what),
            Self::TooLarge => Problem::new(kind::TOO_LARGE, "The body has more bytes than are allowed."),
            Self::MediaType => Problem::new(kind::UNSUPPORTED_MEDIA_TYPE, "Send Content-Type: application/json."),
            Self::Fields(errors) => {
                let count = errors.len();
                let detail = if count == 1 { "1 field is not valid.".to_owned() } else { format!("{count} fields are not valid.") };
                Problem::new(kind::INVALID_FIELDS, detail).with_errors(errors.clone())
            }
            Self::SignInFailed => Problem::new(kind::SIGN_IN_FAILED, "Check the address and the password."),
            Self::TooManyAttempts { retry_after_s, signs_in } => {
                let detail =
                    if *signs_in { "Wait, or use a device on which you have signed in before." } else { "Wait as long as Retry-After says." };
                Problem::new(kind::TOO_MANY_ATTEMPTS, detail).retry_after(*retry_after_s)
            }
            Self::Refused(Refusal::Unauthenticated) => Problem::new(kind::UNAUTHENTICATED, "Sign in first."),
            Self::Refused(Refusal::Unrecorded) => Problem::new(kind::BUSY, "What would be shown cannot be recorded at the moment.").retry_after(1),
            Self::Refused(Refusal::Forbidden(_)) => Problem::new(kind::FORBIDDEN, "This is not yours to do."),
            Self::WrongCredential(what) => Problem::new(kind::FORBIDDEN, *what),
            Self::Stale => Problem::new(kind::FRESH_SIGN_IN, "Show your password again by signing in."),
            Self::Closed => Problem::new(kind::FORBIDDEN, "Nobody can sign up here; ask the people who run the service."),
            Self::InvalidCode => Problem::new(kind::INVALID_CODE, "Ask for a new one."),
            Self::NotFound => Problem::new(kind::NOT_FOUND, "There is no such thing, or it is not yours to see."),
            Self::Taken { email: true, .. } => Problem::new(kind::NOT_UNIQUE, "Somebody has this address."),
            Self::Taken { email: false, fields } => {
                let taken = |field: &String| {
                    let detail = "another record has this value".to_owned();
                    FieldProblem { pointer: format!("/profile/{field}"), code: "not_unique", detail }
                };
                let problem = Problem::new(kind::NOT_UNIQUE, "Somebody has the same value in a field that is unique.");
                problem.with_errors(fields.iter().map(taken).collect())
            }
            Self::Busy => Problem::new(kind::BUSY, "Too many people sign in at the moment. Try again.").retry_after(2),
            Self::Store(failure) => match failure {
                Failure::Busy => Problem::new(kind::BUSY, "Nothing was done. Try again.").retry_after(1),
                Failure::Unavailable => Problem::new(kind::UNAVAILABLE, "Nothing was done. Try again.").retry_after(2),
                Failure::Contended => Problem::new(kind::CONTENDED, "Nothing was done. Try again.").retry_after(1),
                Failure::Full => Problem::new(kind::FULL, "Nothing was done."),
                Failure::Dangling { .. } => Problem::new(kind::CONFLICT, "A reference names a record that is not there. Nothing was done."),
                Failure::Unknown => Problem::new(kind::UNKNOWN, "Look whether it was done before you try again."),
                _ => Problem::new(kind::INTERNAL, "Nothing was done."),
            },
        }
    }
}
