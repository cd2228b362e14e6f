//! Users and secrets from the places that a profile names.

use super::*;

const SECRET: &str = "correct horse";

/// A source of one variable and some files.
struct Made;

impl SecretSource for Made {
    fn variable(&self, name: &str) -> Result<String, &'static str> {
        match name {
            "U" => Ok("load".to_owned()),
            "P" | "T" => Ok(SECRET.to_owned()),
            "EMPTY" => Ok(String::new()),
            "LINES" => Ok(format!("{SECRET}\n{SECRET}")),
            _ => Err("is not set"),
        }
    }

    fn file(&self, path: &str) -> Result<String, String> {
        Ok(match path {
            "secret" => format!("{SECRET}\r\n"),
            "users.csv" => format!("user, password\na,{SECRET}\n\"b,c\",\"say \"\"x\"\"\"\nd,3\n"),
            "tokens.csv" => "token,user\nt1,a\n".to_owned(),
            "twice.csv" => format!("user,password\r\na,{SECRET}\r\nb,2\r\na,3\r\n"),
            "short.csv" => format!("user,password\na,1\n{SECRET}\n"),
            "empty.csv" => "user,password\n".to_owned(),
            "hole.csv" => format!("user,password\n,{SECRET}\n"),
            _ => return Err("No such file or directory".to_owned()),
        })
    }
}

fn compiled(auth: &str, tls: TlsMode) -> Result<Logins, ProfileFault> {
    let document = Document::parse("p.toml", &format!("[session]\n{auth}\n")).unwrap();
    let session = document.read().map_err(|error| error.faults()[0].clone())?.session.unwrap_or_default();
    let script = Script { tls, ..Script::default() };
    let auth = session.auth.clone().unwrap_or_default();
    let target = Target::smtp("mx.example", 25);
    let (script, logins) = logins(&document, &session, &auth, script, &target, &Made)?;
    assert_eq!(script.clear_text_login, auth.allow_clear_text == Some(true));
    Ok(logins)
}

#[test]
fn one_user_comes_from_where_the_profile_says() {
    for auth in [
        "auth = { mechanism = \"plain\", user_env = \"U\", password_env = \"P\" }",
        "auth = { mechanism = \"PLAIN\", user = \"load\", password_file = \"secret\" }",
        "auth = { mechanism = \"plain\", user_env = \"U\", password_env = \"P\", allow_clear_text = true }",
    ] {
        let logins = compiled(auth, TlsMode::Starttls).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let expected = Login::new(Mechanism::Plain, "load", Secret::new(SECRET));
        let expected = expected.to(Some(("mx.example".into(), 25)));
        assert_eq!(logins, Logins { users: vec![expected], random: false });
    }
    let token = "auth = { mechanism = \"oauthbearer\", user = \"load\", token_env = \"T\" }";
    assert_eq!(compiled(token, TlsMode::Implicit).unwrap().users[0].secret, Secret::new(SECRET));
    let clear =
        "auth = { mechanism = \"login\", user = \"u\", password_env = \"P\", allow_clear_text = true }";
    assert_eq!(compiled(clear, TlsMode::None).unwrap().users.len(), 1);
}

#[test]
fn no_byte_order_mark_becomes_part_of_a_user_or_a_secret() {
    fn utf16(text: &str, big: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }
    let folder = tempfile::tempdir().unwrap();
    let list = format!("sep=;\r\nUser;Password\r\nload;\"{SECRET}\"\r\n");
    for (form, encode) in [
        ("plain", (|text: &str| text.as_bytes().to_vec()) as fn(&str) -> Vec<u8>),
        ("mark", |text| ["\u{feff}", text].concat().into_bytes()),
        ("little", |text| utf16(text, false)),
        ("big", |text| utf16(text, true)),
    ] {
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), encode(text)).unwrap();
        write("user", "load\r\n");
        write("secret", &format!("{SECRET}\n"));
        write("users.csv", &list);
        let at = folder.path().display();
        for (mechanism, keys) in [
            ("plain", format!("user_file = \"{at}/user\", password_file = \"{at}/secret\"")),
            ("plain", format!("users_file = \"{at}/users.csv\"")),
            ("xoauth2", format!("user_file = \"{at}/user\", token_file = \"{at}/secret\"")),
        ] {
            let auth = format!("auth = {{ mechanism = \"{mechanism}\", {keys} }}");
            let document = Document::parse("p.toml", &format!("[session]\n{auth}\n")).unwrap();
            let session = document.read().unwrap().session.unwrap();
            let script = Script { tls: TlsMode::Starttls, ..Script::default() };
            let target = Target::smtp("mx.example", 25);
            let found = compile(&document, &session, script, &target, Purpose::Run);
            let (_, logins) = found.unwrap_or_else(|error| panic!("{form}: {}", error.render(false)));
            assert_eq!((&*logins.users[0].user, &logins.users[0].secret), ("load", &Secret::new(SECRET)));
        }
    }
}

#[test]
fn many_users_come_from_a_file_and_are_taken_in_turn_or_drawn() {
    let list = |more: &str| {
        let auth = format!("auth = {{ mechanism = \"scram-sha-256\", users_file = \"users.csv\"{more} }}");
        compiled(&auth, TlsMode::Starttls).unwrap_or_else(|e| panic!("{}", e.render(false)))
    };
    let (in_turn, random) = (list(""), list(", order = \"random\""));
    let user = |logins: &Logins, seed, serial| logins.of(seed, serial).unwrap().user.to_string();
    let first: Vec<String> = (0..5).map(|serial| user(&in_turn, 7, serial)).collect();
    assert_eq!(first, ["a", "b,c", "d", "a", "b,c"]);
    assert_eq!(in_turn.users[1].secret, Secret::new("say \"x\""));
    let drawn = |seed| (0..300).map(|serial| user(&random, seed, serial)).collect::<Vec<_>>();
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    for name in ["a", "b,c", "d"] {
        let count = drawn(7).iter().filter(|drawn| *drawn == name).count();
        assert!((60..140).contains(&count), "{name}: {count}");
    }
    let tokens = "auth = { mechanism = \"xoauth2\", users_file = \"tokens.csv\" }";
    assert_eq!(compiled(tokens, TlsMode::Starttls).unwrap().users[0].secret, Secret::new("t1"));
    assert_eq!(Logins::default().of(7, 0), None);
}

#[test]
fn what_is_wrong_is_named_and_no_secret_with_it() {
    let plain = |keys: &str| format!("auth = {{ mechanism = \"plain\", {keys} }}");
    for (auth, says) in [
        ("auth = { user_env = \"U\" }".to_owned(), "there is no mechanism"),
        (
            plain("user_env = \"U\", password_env = \"MISSING\""),
            "the environment variable `MISSING` is not set",
        ),
        (plain("user_env = \"U\", password_env = \"EMPTY\""), "the value is empty"),
        (plain("user_env = \"U\", password_env = \"LINES\""), "holds a control character"),
        (plain("user_env = \"U\", password_file = \"missing\""), "failed to read \"missing\": No such file"),
        (plain("user_env = \"U\""), "there is no password to log in with"),
        (plain("password_env = \"P\""), "there is no user to log in with"),
        (plain("user = \"a\", user_env = \"U\", password_env = \"P\""), "the user is given twice"),
        (
            plain("user = \"a\", password_file = \"secret\", password_env = \"P\""),
            "the password is given twice",
        ),
        (plain("user = \"a\", token_env = \"T\""), "with a password, not with a token"),
        (plain("user = \"a\", token_env = \"T\", password_env = \"P\""), "a password and a token"),
        (plain("user = \"a\", users_file = \"users.csv\""), "`user` beside `users_file`"),
        (plain("users_file = \"tokens.csv\""), "names no columns `user` and `password`"),
        (plain("users_file = \"twice.csv\""), "twice.csv:4: the user of line 2 again"),
        (plain("users_file = \"short.csv\""), "short.csv:3: this is no row"),
        (plain("users_file = \"empty.csv\""), "holds no user"),
        (plain("users_file = \"hole.csv\""), "hole.csv:2: a user or secret is empty"),
        (plain("user = \"a\", password_env = \"P\", order = \"random\""), "one user, and no order"),
        (
            plain("user = \"a\", password_env = \"P\" }\nhello = \"helo\"\nmisbehave = {"),
            "a session that says HELO has none",
        ),
        (plain(&format!("user = \"a\", password = \"{SECRET}\"")), "a secret does not stand in a profile"),
        (format!("auth.token = '{SECRET}'"), "a secret does not stand in a profile"),
        (format!("auth.pasword = \"{SECRET}\""), "unknown key `pasword`"),
    ] {
        let error = compiled(&auth, TlsMode::Starttls).expect_err(&auth);
        let shown = format!("{error} {}", error.render(true));
        assert!(shown.contains(says), "{auth}:\n{}", error.render(false));
        assert!(!shown.contains(SECRET) && error.remedy.is_some(), "{}", error.render(false));
    }
    let clear = compiled(&plain("user = \"a\", password_env = \"P\""), TlsMode::None).unwrap_err();
    assert!(
        clear.message.contains("clear text") && clear.remedy.unwrap().contains("allow_clear_text = true")
    );
    let plus = "auth = { mechanism = \"scram-sha-256-plus\", user = \"a\", password_env = \"P\", allow_clear_text = true }";
    assert!(compiled(plus, TlsMode::None).unwrap_err().message.contains("binds a login to the TLS session"));
}
