//! The values of settings, and the forms of their texts.

use super::settings::{Fault, Form, Setting, Shape};
use crate::section::Section;
use std::path::PathBuf;

/// A secret by reference: never a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// In an environment variable.
    Env(String),
    /// In a file.
    File(PathBuf),
}

impl SecretRef {
    fn words(&self) -> String {
        match self {
            Self::Env(name) => format!("*** (environment variable {name})"),
            Self::File(path) => format!("*** (file {})", path.display()),
        }
    }
}

/// `[database] url`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `sqlite:PATH`, relative to the data directory.
    Sqlite(PathBuf),
    /// `postgres://…` without a password.
    Postgres(String),
    /// By reference: either kind.
    Secret(SecretRef),
}

/// Which reads leave an access entry: `[ledger] reads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadsLogged {
    /// Those that show a pii or secret field.
    Classed,
    /// All.
    All,
    /// None.
    None,
}

/// Who may sign up by themselves: `[auth] sign_up`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignUp {
    /// Nobody: an operator adds people.
    Closed,
    /// People with an invitation.
    Invite,
    /// Anybody.
    Open,
}

/// Where signed checkpoints are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Appended to a file.
    File(PathBuf),
    /// Posted to an `http://` or `https://` address.
    Http(String),
    /// Sent to a syslog collector (RFC 5424): a socket's path, or host and port for UDP.
    Syslog(String),
}

impl Witness {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("file", path) if !path.is_empty() => Some(Self::File(PathBuf::from(path))),
            ("http" | "https", _) if url::Url::parse(text).is_ok() => Some(Self::Http(text.to_owned())),
            ("syslog", to) if to.starts_with('/') || to.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) => {
                Some(Self::Syslog(to.to_owned()))
            }
            _ => None,
        }
    }

    /// As it stands in the configuration.
    fn address(&self) -> String {
        match self {
            Self::File(path) => format!("file:{}", path.display()),
            Self::Http(address) => address.clone(),
            Self::Syslog(to) => format!("syslog:{to}"),
        }
    }
}

fn fault(code: &'static str, message: String, help: impl Into<String>) -> Option<Fault> {
    Some(Fault { code, message, help: help.into() })
}

/// A name; whether it names something is looked at with the model.
pub(super) static NAME: Form = Form { words: "names", schema: Some(("pattern", "^[a-z][a-z0-9_]{0,47}$")), fault: |_, _| None };

/// A role; whether it is declared is looked at with the model.
pub(super) static ROLE: Form = Form { words: "one of `roles`", schema: None, fault: |_, _| None };

pub(super) static PEM_FILE: Form = Form { words: "path of a PEM file", schema: None, fault: |_, _| None };

pub(super) static ADDRESS: Form = Form {
    words: "IP address and port",
    schema: None,
    fault: |_, text| {
        if text.parse::<std::net::SocketAddr>().is_ok() {
            return None;
        }
        let port = text.strip_prefix("localhost:").unwrap_or("8080");
        let help = format!("write an IP address and a port, e.g. \"127.0.0.1:{port}\"");
        fault("not-an-address", format!("`{text}` is not an address with a port"), help)
    },
};

pub(super) static OWN_ORIGIN: Form = Form {
    words: "`http` or `https`, no path, no final `/`",
    schema: Some(("format", "uri")),
    fault: |_, text| {
        let good = url::Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
        });
        if good && !text.ends_with('/') {
            return None;
        }
        fault("not-an-origin", format!("`{text}` is not an origin"), "write scheme and host without a path, e.g. \"https://api.example.com\"")
    },
};

pub(super) static ORIGIN: Form = Form {
    words: "exact origins, no wildcard",
    schema: Some(("format", "uri")),
    fault: |_, text| {
        let exact = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == *text);
        if exact {
            return None;
        }
        let help = "write scheme, host and port as a browser sends them, e.g. \"https://app.example.com\"; there is no wildcard";
        fault("not-an-origin", format!("`{text}` is not an origin"), help)
    },
};

pub(super) static NETWORK: Form = Form {
    words: "addresses and CIDR networks",
    schema: None,
    fault: |_, text| {
        if is_network(text) {
            return None;
        }
        fault("not-a-network", format!("`{text}` is not a network"), "write an address or a network such as \"10.0.0.0/8\"")
    },
};

/// An address, or an address and the length of its prefix.
fn is_network(text: &str) -> bool {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let bits = match address.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(_)) => 32,
        Ok(std::net::IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.is_none_or(|length| length.parse::<u8>().is_ok_and(|length| length <= bits))
}

pub(super) static WITNESS: Form = Form {
    words: "`\"file:PATH\"`, `\"https://HOST[:PORT]/PATH\"` (or `http:`), `\"syslog:/dev/log\"`, `\"syslog:HOST:PORT\"` (UDP)",
    schema: Some(("pattern", "^(file:|https?://|syslog:)")),
    fault: |_, text| {
        if Witness::parse(text).is_some() {
            return None;
        }
        let help = "write \"file:PATH\", \"https://HOST/PATH\", \"syslog:/dev/log\" or \"syslog:HOST:PORT\"";
        fault("wrong-value", format!("`{text}` is not a witness"), help)
    },
};

pub(super) static COLLECTOR: Form = Form {
    words: "its whole address; `http` or `https`, no user name or password",
    schema: Some(("format", "uri")),
    fault: |key, text| {
        let good = url::Url::parse(text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty() && url.password().is_none());
        if good {
            return None;
        }
        let help = format!("write the collector's whole address without credentials, e.g. \"http://127.0.0.1:4318/v1/{key}\"");
        fault("not-an-address", format!("`{text}` is not an address"), help)
    },
};

pub(super) static DATABASE: Form = Form {
    words: "`\"sqlite:PATH\"`, relative to the data directory; `\"postgres://USER@HOST/NAME\"` without a password",
    schema: Some(("pattern", "^(sqlite:|postgres(ql)?://)")),
    fault: |_, text| {
        let help = "write \"sqlite:NAME.db\", \"postgres://USER@HOST/NAME\", or url = { env = \"DATABASE_URL\" } for a URL with a password";
        DatabaseUrl::parse(text).err().and_then(|message| fault("database-url", message, help))
    },
};

impl DatabaseUrl {
    /// Reads a URL that stands in the folder.
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            return if path.is_empty() { Err("the path after `sqlite:` is empty".to_owned()) } else { Ok(Self::Sqlite(PathBuf::from(path))) };
        }
        match database_url_of_one_host(text) {
            Some(url) if matches!(url.scheme(), "postgres" | "postgresql") && url.password().is_some() => {
                Err("the URL holds a password: a secret never stands in the folder".to_owned())
            }
            Some(url) if matches!(url.scheme(), "postgres" | "postgresql") => Ok(Self::Postgres(text.to_owned())),
            Some(url) if matches!(url.scheme(), "mysql" | "mariadb") => Err("MySQL and MariaDB are not built yet".to_owned()),
            // It may hold a password in a form that is not read.
            _ => Err("this is not a database URL".to_owned()),
        }
    }
}

/// Where the hosts stand in a database URL. There may be several, each with its port, which only PostgreSQL's URLs have.
#[must_use]
pub fn database_hosts(url: &str) -> std::ops::Range<usize> {
    let begin = url.find("://").map_or(0, |at| at + 3);
    let end = url[begin..].find(['/', '?', '#']).map_or(url.len(), |at| begin + at);
    url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1)..end
}

/// A database URL with the first of its hosts alone.
#[must_use]
pub fn database_url_of_one_host(text: &str) -> Option<url::Url> {
    let (at, mut one) = (database_hosts(text), text.to_owned());
    let first = text[at.clone()].split(',').next().unwrap_or_default();
    one.replace_range(at, first);
    url::Url::parse(&one).ok()
}

macro_rules! number {
    ($($type:ty),+) => { $(
        impl Setting for $type {
            fn read(section: &Section<'_>, key: &'static str, shape: &Shape) -> Option<Self> {
                let Shape::Number(bounds, _) = shape else { return None };
                section.bounded(key, bounds.clone()).and_then(|found| Self::try_from(found).ok())
            }

            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}

number!(usize, u64, u32, i64);

impl Setting for bool {
    fn read(section: &Section<'_>, key: &'static str, _: &Shape) -> Option<Self> {
        section.bool(key)
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Setting for String {
    fn read(section: &Section<'_>, key: &'static str, shape: &Shape) -> Option<Self> {
        let text = section.text(key)?;
        if let Shape::Text(form) | Shape::TextOrSecret(form) = shape {
            form.check(section, key, text, section.span_of(key));
        }
        Some(text.to_owned())
    }

    fn shown(&self) -> String {
        self.clone()
    }
}

impl Setting for PathBuf {
    fn read(section: &Section<'_>, key: &'static str, _: &Shape) -> Option<Self> {
        section.text(key).map(Self::from)
    }

    fn shown(&self) -> String {
        self.display().to_string()
    }
}

impl<T: Setting> Setting for Option<T> {
    fn read(section: &Section<'_>, key: &'static str, shape: &Shape) -> Option<Self> {
        T::read(section, key, shape).map(Some)
    }

    fn shown(&self) -> String {
        self.as_ref().map(T::shown).unwrap_or_default()
    }
}

impl Setting for Vec<String> {
    fn read(section: &Section<'_>, key: &'static str, shape: &Shape) -> Option<Self> {
        let list = section.texts(key)?;
        if let Shape::Texts(form) = shape {
            list.iter().for_each(|(text, span)| form.check(section, key, text, span.clone()));
        }
        Some(list.into_iter().map(|(text, _)| text.to_owned()).collect())
    }

    fn shown(&self) -> String {
        self.join(", ")
    }
}

impl Setting for Vec<Witness> {
    fn read(section: &Section<'_>, key: &'static str, shape: &Shape) -> Option<Self> {
        let list = <Vec<String> as Setting>::read(section, key, shape)?;
        Some(list.iter().filter_map(|text| Witness::parse(text)).collect())
    }

    fn shown(&self) -> String {
        self.iter().map(Witness::address).collect::<Vec<_>>().join(", ")
    }
}

impl Setting for DatabaseUrl {
    fn read(section: &Section<'_>, key: &'static str, shape: &Shape) -> Option<Self> {
        if section.item(key)?.as_table_like().is_some() {
            return SecretRef::read(section, key, shape).map(Self::Secret);
        }
        let text = String::read(section, key, shape)?;
        Self::parse(&text).ok()
    }

    fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
            Self::Postgres(url) => url.clone(),
            Self::Secret(found) => found.words(),
        }
    }
}

impl SecretRef {
    /// Reads one under a key that is there.
    pub(crate) fn of(section: &Section<'_>, key: &'static str) -> Option<Self> {
        let item = section.item(key)?;
        if item.as_table_like().is_none() {
            section.error(
                section.span_of(key),
                "literal-secret",
                format!("`{key}` holds its secret as a literal"),
                format!("write {key} = {{ env = \"NAME\" }} or {key} = {{ file = \"PATH\" }}"),
            );
            return None;
        }
        let inner = section.section(key)?;
        let found = match (inner.text("env"), inner.text("file")) {
            (Some(name), None) => Some(Self::Env(name.to_owned())),
            (None, Some(path)) => Some(Self::File(PathBuf::from(path))),
            _ => {
                inner.error(
                    None,
                    "secret-reference",
                    format!("`{key}` needs one of `env` and `file`"),
                    format!("write {key} = {{ env = \"NAME\" }}"),
                );
                None
            }
        };
        inner.finish();
        found
    }
}

impl Setting for SecretRef {
    fn read(section: &Section<'_>, key: &'static str, _: &Shape) -> Option<Self> {
        Self::of(section, key)
    }

    fn shown(&self) -> String {
        self.words()
    }
}

/// A value that is one of some words.
pub(super) trait Words: Copy + PartialEq + 'static {
    const ALL: &'static [(&'static str, Self)];
}

impl Words for ReadsLogged {
    const ALL: &'static [(&'static str, Self)] = &[("classed", Self::Classed), ("all", Self::All), ("none", Self::None)];
}

impl Words for SignUp {
    const ALL: &'static [(&'static str, Self)] = &[("closed", Self::Closed), ("invite", Self::Invite), ("open", Self::Open)];
}

fn word<T: Words>(section: &Section<'_>, key: &'static str) -> Option<T> {
    let text = section.text(key)?;
    let found = T::ALL.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let words: Vec<_> = T::ALL.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let (last, before) = words.split_last().map_or((String::new(), String::new()), |(last, before)| (last.clone(), before.join(", ")));
        section.error(section.span_of(key), "wrong-value", format!("`{key}` is `{text}`"), format!("choose {before} or {last}"));
    }
    found.map(|(_, value)| *value)
}

macro_rules! choice {
    ($($type:ty),+) => { $(
        impl Setting for $type {
            fn read(section: &Section<'_>, key: &'static str, _: &Shape) -> Option<Self> {
                word(section, key)
            }

            fn shown(&self) -> String {
                Self::ALL.iter().find(|(_, value)| value == self).map_or_else(String::new, |(word, _)| (*word).to_owned())
            }
        }
    )+ };
}

choice!(ReadsLogged, SignUp);
