//! The flags of a login: what of the profile's `[session] auth` a command line can say. Never a secret.

use std::iter;

use clap::Args;

use super::prepare::quoted;
use crate::profile::Override;
use crate::profile::overrides::Origin;

/// Who logs in, and how.
#[derive(Debug, Default, Args)]
pub struct LoginArgs {
    /// Log in: plain, login, cram-md5, scram-sha-256[-plus], xoauth2, oauthbearer
    #[arg(long, value_name = "MECHANISM")]
    auth: Option<String>,
    /// The user
    #[arg(long, value_name = "NAME", requires = "auth", conflicts_with = "user_env")]
    user: Option<String>,
    /// The environment variable that holds the user
    #[arg(long, value_name = "VARIABLE", requires = "auth")]
    user_env: Option<String>,
    /// The environment variable that holds the password
    #[arg(long, value_name = "VARIABLE", requires = "auth")]
    password_env: Option<String>,
    /// The environment variable that holds the token
    #[arg(long, value_name = "VARIABLE", requires = "auth")]
    token_env: Option<String>,
    /// A CSV file of many users: columns user and password (or token)
    #[arg(long, value_name = "FILE", requires = "auth")]
    users_file: Option<String>,
    /// Log in although the session is not encrypted
    #[arg(long, requires = "auth")]
    allow_clear_text: bool,
}

impl LoginArgs {
    /// The keys that were given.
    pub fn overrides(&self) -> Vec<Override> {
        let texts = [
            ("--auth", "session.auth.mechanism", &self.auth),
            ("--user", "session.auth.user", &self.user),
            ("--user-env", "session.auth.user_env", &self.user_env),
            ("--password-env", "session.auth.password_env", &self.password_env),
            ("--token-env", "session.auth.token_env", &self.token_env),
            ("--users-file", "session.auth.users_file", &self.users_file),
        ];
        let texts =
            texts.into_iter().filter_map(|(flag, key, value)| Some((flag, key, quoted(value.as_ref()?))));
        let clear = ("--allow-clear-text", "session.auth.allow_clear_text", "true".to_owned());
        let all = texts.chain(iter::once(clear).filter(|_| self.allow_clear_text));
        all.map(|(flag, key, value)| Override::for_key(Origin::Flag, flag, key, &value)).collect()
    }
}
