//! Where a store is: `postgres://...` or `milvus://...`.

use hebbian_search::{Error, Result};

/// Name of the table or collection where an address gives none.
const DEFAULT_NAME: &str = "gallery";
/// Longest name: what PostgreSQL keeps of one.
const MAX_NAME: usize = 63;

/// The kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    Milvus,
}

/// An address taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) kind: Kind,
    /// User and, after a colon, password.
    pub(crate) user: Option<String>,
    /// Host and port, as given.
    pub(crate) host: String,
    pub(crate) database: Option<String>,
    /// Table or collection; letters, digits and underscores only.
    pub(crate) name: String,
    /// Options after the question mark.
    pub(crate) options: Option<String>,
}

/// Whether `text` is the address of a server rather than the path of a gallery.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.contains("://")
}

/// Fails unless `text` is an address as [`ServerStore::open`](crate::ServerStore::open) takes it.
///
/// # Errors
/// [`Error::Server`].
pub fn check_address(text: &str) -> Result<()> {
    Address::parse(text).map(drop)
}

impl Address {
    /// Takes `text` apart.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let wrong = |problem: &str| Error::Server {
            // Whatever it is, a password stays out of the message.
            store: text.rsplit('@').next().unwrap_or_default().to_owned(),
            problem: problem.to_owned(),
        };
        let forms = "is no address of a store; give postgres://USER@HOST:PORT/DATABASE/TABLE or \
                     milvus://HOST:PORT/COLLECTION";
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(forms))?;
        let kind = match scheme {
            "postgres" | "postgresql" => Kind::Postgres,
            "milvus" => Kind::Milvus,
            _ => return Err(wrong(forms)),
        };
        let (rest, options) = match rest.split_once('?') {
            Some((rest, options)) => (rest, Some(options.to_owned())),
            None => (rest, None),
        };
        let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match server.rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, server),
        };
        let mut parts = path.trim_end_matches('/').split('/').filter(|part| !part.is_empty());
        let (first, second) = (parts.next(), parts.next());
        let (database, name) = match (kind, first, second) {
            (Kind::Milvus, Some(name), None) => (None, Some(name)),
            (_, database, name) => (database, name),
        };
        let name = name.unwrap_or(DEFAULT_NAME);
        if host.is_empty() || parts.next().is_some() {
            return Err(wrong(forms));
        }
        let plain = |name: &str| {
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.len() <= MAX_NAME
        };
        if !plain(name) {
            let problem = "the name of a table or collection is up to 63 letters, digits and \
                           underscores, and does not begin with a digit";
            return Err(wrong(problem));
        }
        let database = database.map(str::to_owned);
        Ok(Self { kind, user, host: host.to_owned(), database, name: name.to_owned(), options })
    }

    /// The address for messages: without password and options.
    pub(crate) fn display(&self) -> String {
        let scheme = match self.kind {
            Kind::Postgres => "postgres",
            Kind::Milvus => "milvus",
        };
        let user = self.user.as_deref().and_then(|user| user.split(':').next());
        let user = user.map_or_else(String::new, |user| format!("{user}@"));
        let database = self.database.as_ref().map_or_else(String::new, |name| format!("{name}/"));
        format!("{scheme}://{user}{}/{database}{}", self.host, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        for (text, database, name, display) in [
            ("postgres://h", None, "gallery", "postgres://h/gallery"),
            ("postgresql://a:b@h:1/db", Some("db"), "gallery", "postgres://a@h:1/db/gallery"),
            ("postgres://a@h/db/t?x=1", Some("db"), "t", "postgres://a@h/db/t"),
            ("milvus://h:19530", None, "gallery", "milvus://h:19530/gallery"),
            ("milvus://h/c/", None, "c", "milvus://h/c"),
            ("milvus://u:p@h/db/c", Some("db"), "c", "milvus://u@h/db/c"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.database.as_deref(), database, "{text}");
            assert_eq!(address.name, name, "{text}");
            assert_eq!(address.display(), display);
        }
        for text in [
            "gallery",
            "http://h/x",
            "postgres://",
            "postgres://h/a/b/c",
            "milvus://h/a\"b",
            "milvus://h/1a",
            "postgres://u:secret@h/db/a b",
            &format!("milvus://h/{}", "a".repeat(64)),
        ] {
            let message = Address::parse(text).unwrap_err().to_string();
            assert!(!message.contains("secret"), "{message}");
        }
        assert!(is_address("milvus://h") && !is_address("photos/gallery"));
    }
}
