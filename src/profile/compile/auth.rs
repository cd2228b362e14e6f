//! `[session] auth` and `[listener] users`: the logins, and the users of the listener. Secrets come from the
//! environment or from files.
//!
//! # Decisions
//! - No error and no stored profile holds a secret. A profile names the place of a secret, and errors name that place.
//! - Paths are relative to the folder in which smtpress was started.

use std::collections::BTreeMap;
use std::path::Path;

use super::Purpose;
use crate::mail;
use crate::net::address::{Target, Transport};
use crate::plan::Logins;
use crate::profile::document::{Document, Key, keys};
use crate::profile::error::ProfileFault;
use crate::profile::input;
use crate::profile::schema::auth::{Auth, Users};
use crate::profile::schema::session::Session;
use crate::profile::table::{KeyTable, Word};
use crate::smtp::auth::{Login, Mechanism, Secret, verify};
use crate::smtp::script::{Hello, Script, TlsMode};

/// The source of secrets.
trait SecretSource {
    /// Returns the variable's value. An error says what is wrong with it.
    fn variable(&self, name: &str) -> Result<String, &'static str>;
    /// Returns the file's content. An error says why there is none.
    fn file(&self, path: &str) -> Result<String, String>;
}

/// The process's environment, and the files of the system.
struct System;

impl SecretSource for System {
    fn variable(&self, name: &str) -> Result<String, &'static str> {
        // `std::env::var` may panic for such a name.
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err("is no name of a variable");
        }
        std::env::var(name).map_err(|error| match error {
            std::env::VarError::NotPresent => "is not set",
            std::env::VarError::NotUnicode(_) => "is not UTF-8",
        })
    }

    fn file(&self, path: &str) -> Result<String, String> {
        let content = input::read(Path::new(path)).map_err(|error| error.to_string())?;
        String::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())
    }
}

/// Returns the logins, and the script with the rule on clear text.
///
/// # Errors
/// An impossible login, or a secret that cannot be read.
pub(super) fn compile(
    document: &Document,
    session: &Session,
    script: Script,
    target: &Target,
    purpose: Purpose,
) -> Result<(Script, Logins), ProfileFault> {
    // A process that sends nothing needs no secrets of clients.
    let Some(auth) = session.auth.as_ref().filter(|_| purpose.sends()) else {
        return Ok((script, Logins::default()));
    };
    logins(document, session, auth, script, target, &System)
}

fn logins(
    document: &Document,
    session: &Session,
    auth: &Auth,
    mut script: Script,
    target: &Target,
    source: &dyn SecretSource,
) -> Result<(Script, Logins), ProfileFault> {
    let at = keys!["session", "auth"];
    let Some(Word(mechanism)) = auth.mechanism else {
        return Err(document.error_at(
            &at,
            "there is no mechanism to log in with",
            "add `mechanism = \"plain\"`, or another that the listener offers",
        ));
    };
    let of_mechanism = keys!["session", "auth", "mechanism"];
    if session.hello().0 == Hello::Helo {
        return Err(document.error_at(
            &at,
            "AUTH is an extension, and a session that says HELO has none",
            "write `hello = \"ehlo\"` in [session], or remove `auth`",
        ));
    }
    script.clear_text_login = auth.allow_clear_text();
    if script.tls == TlsMode::None && mechanism == Mechanism::ScramSha256Plus {
        return Err(document.error_at(
            &of_mechanism,
            "this mechanism binds a login to the TLS session, and there is none",
            "write `tls = \"starttls\"` in [target], or `mechanism = \"scram-sha-256\"`",
        ));
    }
    if script.tls == TlsMode::None && !script.clear_text_login {
        return Err(document.error_at(
            &at,
            "the login would go out in clear text",
            "write `tls = \"starttls\"` in [target] (--tls starttls), or allow it: `allow_clear_text = true` (--allow-clear-text)",
        ));
    }
    let reader = SecretReader { document, at: &at, source };
    let wants = Some(if mechanism.has_token() { "token" } else { "password" });
    let users = reader.users(&users_of(auth), wants)?;
    if auth.order.is_some() && users.len() < 2 {
        return Err(document.error_at_key(
            &keys!["session", "auth", "order"],
            "there is one user, and no order",
            "remove the key, or give `users_file`",
        ));
    }
    let endpoint = match &target.transport {
        Transport::Tcp { host, port } => Some((host.as_str().into(), *port)),
        Transport::Unix { .. } | Transport::Embedded => None,
    };
    let login = |(user, secret): (String, Secret)| Login::new(mechanism, &user, secret).to(endpoint.clone());
    let random = auth.order().0 == mail::Order::Random;
    Ok((script, Logins { users: users.into_iter().map(login).collect(), random }))
}

/// Returns the users of the listener.
///
/// # Errors
/// A secret cannot be read.
pub(super) fn known(document: &Document, users: &Users) -> Result<verify::Users, ProfileFault> {
    let reader = SecretReader { document, at: &keys!["listener", "users"], source: &System };
    reader.users(users, None).map(verify::Users::new)
}

/// Returns the keys of a login that name users.
fn users_of(auth: &Auth) -> Users {
    let Auth { user, user_env, user_file, password_env, password_file, .. } = auth.clone();
    let Auth { token_env, token_file, users_file, .. } = auth.clone();
    Users { user, user_env, user_file, password_env, password_file, token_env, token_file, users_file }
}

/// Reads users and secrets. An error names the key of the wrong value.
struct SecretReader<'a> {
    document: &'a Document,
    at: &'a [Key],
    source: &'a dyn SecretSource,
}

impl SecretReader<'_> {
    fn error(&self, key: &'static str, message: impl Into<String>, remedy: &str) -> ProfileFault {
        let path: Vec<Key> = self.at.iter().cloned().chain([Key::from(key)]).collect();
        self.document.error_at(&path, message, remedy)
    }

    /// Returns the users. `wants` is the kind of secret that the mechanism needs; `None` for any.
    fn users(
        &self,
        written: &Users,
        wants: Option<&'static str>,
    ) -> Result<Vec<(String, Secret)>, ProfileFault> {
        let given = written.given();
        let first_of = |keys: [&'static str; 2]| keys.into_iter().find(|key| given.contains(key));
        if let Some(path) = &written.users_file {
            return match given.iter().find(|key| **key != "users_file") {
                Some(key) => {
                    Err(self.error(key, format!("`{key}` beside `users_file`"), "keep one of the two"))
                }
                None => self.list(path, wants),
            };
        }
        let of_user = match (&written.user, &written.user_env, &written.user_file) {
            (Some(user), None, None) => self.sound("user", user.clone())?,
            (None, variable, file) => self.one(["user_env", "user_file"], variable, file, "user")?,
            _ => return Err(self.error("user", "the user is given twice", "keep one of the keys")),
        };
        let (passwords, tokens) = (["password_env", "password_file"], ["token_env", "token_file"]);
        let kind = match (first_of(passwords), first_of(tokens)) {
            (Some(_), Some(key)) => {
                return Err(self.error(key, "a password and a token", "keep one of the two"));
            }
            (Some(_), None) => "password",
            (None, Some(_)) => "token",
            (None, None) => wants.unwrap_or("password"),
        };
        let (variable, file, names) = match kind {
            "token" => (&written.token_env, &written.token_file, tokens),
            _ => (&written.password_env, &written.password_file, passwords),
        };
        if let Some(wants) = wants.filter(|wants| *wants != kind) {
            return Err(self.error(
                first_of(names).unwrap_or(names[1]),
                format!("the mechanism logs in with a {wants}, not with a {kind}"),
                &format!("write `{wants}_env` or `{wants}_file`"),
            ));
        }
        let secret = self.one(names, variable, file, kind)?;
        Ok(vec![(of_user, Secret::new(&secret))])
    }

    /// Returns a value from its variable or its file.
    fn one(
        &self,
        names: [&'static str; 2],
        variable: &Option<String>,
        file: &Option<String>,
        what: &str,
    ) -> Result<String, ProfileFault> {
        match (variable, file) {
            (Some(name), None) => {
                let value = self.source.variable(name).map_err(|why| {
                    let remedy = format!("set it, as in `export {name}=...`");
                    self.error(names[0], format!("the environment variable `{name}` {why}"), &remedy)
                })?;
                self.sound(names[0], value)
            }
            (None, Some(path)) => {
                let text = self.file(names[1], path)?;
                self.sound(names[1], text.trim_end_matches(['\r', '\n']).to_owned())
            }
            (None, None) => Err(self.document.error_at(
                self.at,
                format!("there is no {what} to log in with"),
                format!(
                    "add `{0}` (--{2}) with the name of an environment variable, or `{1}` with the path of a file",
                    names[0],
                    names[1],
                    names[0].replace('_', "-")
                ),
            )),
            (Some(_), Some(_)) => {
                Err(self.error(names[1], format!("the {what} is given twice"), "keep one of the keys"))
            }
        }
    }

    fn file(&self, key: &'static str, path: &str) -> Result<String, ProfileFault> {
        self.source.file(path).map_err(|why| {
            self.error(key, format!("failed to read {path:?}: {why}"), "give the path of a file")
        })
    }

    /// Returns the users of a CSV file.
    fn list(&self, path: &str, wants: Option<&'static str>) -> Result<Vec<(String, Secret)>, ProfileFault> {
        let key = "users_file";
        let text = self.file(key, path)?;
        let (delimiter, rows) = mail::delimiter(text.as_bytes());
        let mut csv =
            csv::ReaderBuilder::new().trim(csv::Trim::Headers).delimiter(delimiter).from_reader(rows);
        let before = text.len() - rows.len();
        let line = |at: &csv::Position| mail::line_of(text.as_bytes(), before + at.byte() as usize);
        // The contents of the file are not shown: a secret may be in the wrong column.
        let unread = |error: &csv::Error| {
            let line = error.position().map_or(1, line);
            self.error(
                key,
                format!("{path}:{line}: this is no row of the columns that the first line names"),
                "write CSV: `user,password` in the first line, and one user in each other",
            )
        };
        let headers = csv.headers().map_err(|error| unread(&error))?.clone();
        let column = |names: &[&str]| {
            headers.iter().position(|header| names.iter().any(|name| header.eq_ignore_ascii_case(name)))
        };
        let secrets: &[&str] = match wants {
            Some("token") => &["token"],
            Some(_) => &["password"],
            None => &["password", "token"],
        };
        let (Some(user), Some(secret)) = (column(&["user"]), column(secrets)) else {
            return Err(self.error(
                key,
                format!(
                    "the first line of {path:?} names no columns `user` and `{}`",
                    secrets.join("` or `")
                ),
                &format!("begin the file with `user,{}`", secrets[0]),
            ));
        };
        let mut users = Vec::new();
        let mut lines = BTreeMap::new();
        for row in csv.records() {
            let row = row.map_err(|error| unread(&error))?;
            let line = row.position().map_or(0, line);
            let (name, secret) = (row.get(user).unwrap_or_default(), row.get(secret).unwrap_or_default());
            if let Some(fault) = fault(name).or(fault(secret)) {
                return Err(self.error(
                    key,
                    format!("{path}:{line}: a user or secret {fault}"),
                    "correct the line",
                ));
            }
            if let Some(before) = lines.insert(name.to_owned(), line) {
                return Err(self.error(
                    key,
                    format!("{path}:{line}: the user of line {before} again"),
                    "give each user one line",
                ));
            }
            users.push((name.to_owned(), Secret::new(secret)));
        }
        if users.is_empty() {
            return Err(self.error(key, format!("{path:?} holds no user"), "give each user a line"));
        }
        Ok(users)
    }

    fn sound(&self, key: &'static str, value: String) -> Result<String, ProfileFault> {
        // A variable that was filled from a file may have the file's byte order mark.
        let value = value.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(value);
        match fault(&value) {
            Some(fault) => Err(self.error(key, format!("the value {fault}"), "correct it where it stands")),
            None => Ok(value),
        }
    }
}

/// Returns why a text cannot be a user or a secret; `None` if it can.
fn fault(value: &str) -> Option<&'static str> {
    if value.is_empty() {
        Some("is empty")
    } else if value.len() > 4096 {
        Some("is longer than 4096 bytes")
    } else if value.chars().any(char::is_control) {
        Some("holds a control character")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
