//! `[session] auth` and `[listener] users`: the logins of clients and the users of the listener. A profile never holds
//! a secret.

use crate::mail::Order;
use crate::profile::table::{Word, tables, words};
use crate::smtp::auth::Mechanism;

words! {
    /// A SASL mechanism.
    for Mechanism {
        /// User and password (RFC 4616).
        Plain = "plain" | "PLAIN",
        /// User and password, each asked for.
        Login = "login" | "LOGIN",
        /// A digest of the password and a challenge (RFC 2195).
        CramMd5 = "cram-md5" | "CRAM-MD5",
        /// Proofs of both sides (RFC 7677).
        ScramSha256 = "scram-sha-256" | "SCRAM-SHA-256",
        /// The same with channel binding to the TLS session.
        ScramSha256Plus = "scram-sha-256-plus" | "SCRAM-SHA-256-PLUS",
        /// User and token, in Google's form.
        Xoauth2 = "xoauth2" | "XOAUTH2",
        /// User and token (RFC 7628).
        Oauthbearer = "oauthbearer" | "OAUTHBEARER",
    }
    /// The order in which the users of a file are taken.
    for Order {
        /// In turn, again and again.
        InTurn = "in-turn",
        /// At random, by the seed.
        Random = "random",
    }
}

tables! {
    /// The login (AUTH). A profile never holds a secret.
    Auth {
        /// The mechanism: plain, login, cram-md5, scram-sha-256, scram-sha-256-plus, xoauth2 or oauthbearer.
        mechanism: Word<Mechanism>;
        /// The user.
        user: String;
        /// The environment variable that holds the user.
        user_env: String;
        /// The file that holds the user.
        user_file: String;
        /// The environment variable that holds the password.
        password_env: String;
        /// The file that holds the password.
        password_file: String;
        /// The environment variable that holds the token.
        token_env: String;
        /// The file that holds the token.
        token_file: String;
        /// A CSV file of many users, with the columns user and password (or token).
        users_file: String;
        /// The order in which the users of a file are taken.
        order: Word<Order>, or Word(Order::InTurn);
        /// Log in even if the session is not encrypted.
        allow_clear_text: bool, or false;
    }
    /// The users of the listener. A profile never holds a secret.
    Users {
        /// The user.
        user: String;
        /// The environment variable that holds the user.
        user_env: String;
        /// The file that holds the user.
        user_file: String;
        /// The environment variable that holds the password.
        password_env: String;
        /// The file that holds the password.
        password_file: String;
        /// The environment variable that holds the token.
        token_env: String;
        /// The file that holds the token.
        token_file: String;
        /// A CSV file of many users, with the columns user and password (or token).
        users_file: String;
    }
}
