//! A listener with one set reply for each verb, right or wrong.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

/// A listener that runs until the process ends.
pub struct Rude {
    pub port: u16,
}

impl Rude {
    /// `replies` has the reply to a verb, without its line end. GREET stands for the greeting, DOT for the final dot,
    /// and AUTH2 and AUTH3 for the client's later lines of a login. If a verb has several replies, its second use in a
    /// session gets the second one, and so on; the last is repeated.
    pub fn start(replies: &[(&str, &str)]) -> Rude {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut by_verb: HashMap<String, Vec<String>> = HashMap::new();
        for (verb, reply) in replies {
            by_verb.entry((*verb).to_owned()).or_default().push((*reply).to_owned());
        }
        let by_verb = Arc::new(by_verb);
        std::thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                let by_verb = by_verb.clone();
                std::thread::spawn(move || drop(serve(stream, &by_verb)));
            }
        });
        Rude { port }
    }

    pub fn url(&self) -> String {
        format!("smtp://127.0.0.1:{}", self.port)
    }
}

fn serve(mut stream: TcpStream, replies: &HashMap<String, Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let mut used: HashMap<String, usize> = HashMap::new();
    let mut say = |verb: &str, default: &str| {
        let use_of = used.entry(verb.to_owned()).or_default();
        let reply = replies.get(verb).and_then(|all| all.get(*use_of).or(all.last()));
        *use_of += 1;
        let reply = reply.map_or(default, String::as_str);
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
        std::io::Result::Ok(reply.to_owned())
    };
    say("GREET", "220 rude.example")?;
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        let verb: String = line.chars().take(4).collect::<String>().to_uppercase();
        line.clear();
        let default = if verb == "DATA" { "354 go" } else { "250 ok" };
        let said = say(&verb, default)?;
        if verb == "DATA" && said.starts_with('3') {
            while lines.read_line(&mut line)? > 0 && line != ".\r\n" {
                line.clear();
            }
            say("DOT", "250 taken")?;
        }
        for later in ["AUTH2", "AUTH3"] {
            if verb == "AUTH" && said.starts_with('3') && lines.read_line(&mut line)? > 0 {
                line.clear();
                if !say(later, "235 welcome")?.starts_with('3') {
                    break;
                }
            }
        }
        if verb == "QUIT" {
            break;
        }
        line.clear();
    }
    Ok(())
}
