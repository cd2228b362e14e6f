//! The flags of a login, for keys of the profile's `[session] auth`. A command line never holds a secret.

use clap::Args;

use crate::cli::overrides::flags;
use crate::profile::Override;
use crate::profile::overrides::OverrideOrigin;

/// The flags of a login.
#[derive(Debug, Default, Args)]
pub struct LoginArgs {
    /// Log in: plain, login, cram-md5, scram-sha-256[-plus], xoauth2, oauthbearer
    #[arg(long, value_name = "MECHANISM")]
    auth: Option<String>,
    /// The user name
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
    /// Log in even if the session is not encrypted
    #[arg(long, requires = "auth")]
    allow_clear_text: bool,
}

impl LoginArgs {
    /// Returns the given keys.
    pub fn overrides(&self) -> Vec<Override> {
        let mut changes = flags(&[
            ("--auth", "session.auth.mechanism", &self.auth),
            ("--user", "session.auth.user", &self.user),
            ("--user-env", "session.auth.user_env", &self.user_env),
            ("--password-env", "session.auth.password_env", &self.password_env),
            ("--token-env", "session.auth.token_env", &self.token_env),
            ("--users-file", "session.auth.users_file", &self.users_file),
        ]);
        if self.allow_clear_text {
            let key = "session.auth.allow_clear_text";
            changes.push(Override::for_key(OverrideOrigin::Flag, "--allow-clear-text", key, "true"));
        }
        changes
    }
}
