//! A headless Chromium, controlled over a pair of pipes (`--remote-debugging-pipe`). Messages are JSON, each ended by a
//! 0.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};

/// No step of a browser takes this long on any machine.
const LONGEST: Duration = Duration::from_secs(180);

/// The installed browser. Without one a message is printed; with `SMTPRESS_REAL=required` the test fails.
pub fn installed() -> Option<PathBuf> {
    let named = std::env::var_os("SMTPRESS_CHROMIUM").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-headless-shell", "google-chrome"];
    let found = named.or_else(|| {
        names.iter().find_map(|name| {
            std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
        })
    });
    if found.is_none() {
        let missing = "no Chromium; run tests/page/install.sh as root, or name one with SMTPRESS_CHROMIUM";
        assert!(std::env::var("SMTPRESS_REAL").as_deref() != Ok("required"), "{missing}");
        // `eprintln!` is not used, because the test harness captures it.
        writeln!(std::io::stderr(), "skipped: {missing}").ok();
    }
    found
}

/// The window of a user: its size, and the device.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub width: u32,
    pub height: u32,
    pub phone: bool,
    pub dark: bool,
}

pub const DESKTOP: Window = Window { width: 1280, height: 900, phone: false, dark: false };
pub const PHONE: Window = Window { width: 390, height: 844, phone: true, dark: false };

impl Window {
    pub const fn dark(self) -> Window {
        Window { dark: true, ..self }
    }
}

/// A running browser, which is killed when this is dropped.
pub struct Browser {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    next: u64,
    session: String,
    /// The events that came in the meantime.
    events: Vec<Value>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts a browser with an empty page.
    pub fn start(program: &Path) -> Browser {
        let profile = tempfile::tempdir().unwrap();
        // The pipes are the descriptors 3 and 4 of the browser.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1"])
            .arg(program)
            .args([
                "--headless",
                "--remote-debugging-pipe",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
            ])
            .args([
                "--disable-dev-shm-usage",
                "--hide-scrollbars",
                "--disable-background-networking",
                "--mute-audio",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let to = child.stdin.take().unwrap();
        let mut pipe = BufReader::new(child.stdout.take().unwrap());
        let (sender, from) = channel();
        thread::spawn(move || {
            let mut message = Vec::new();
            while pipe.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let Ok(value) = serde_json::from_slice(&message) else { break };
                if sender.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Browser {
            child,
            to,
            from,
            next: 0,
            session: String::new(),
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attached =
            browser.call("Target.attachToTarget", json!({"targetId": target["targetId"], "flatten": true}));
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Calls a method and waits for the result.
    #[track_caller]
    pub fn call(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": params});
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).unwrap();
        loop {
            let answer = self.from.recv_timeout(LONGEST).expect("the browser answers");
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    /// Opens a page in a window and waits until it is loaded.
    #[track_caller]
    pub fn open(&mut self, url: &str, window: Window) {
        self.hold(window);
        self.events.clear();
        self.call("Page.navigate", json!({"url": url}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.from.recv_timeout(LONGEST).expect("the page is loaded");
            self.events.push(event);
        }
    }

    /// Shows the page in another window.
    pub fn hold(&mut self, window: Window) {
        let Window { width, height, phone, dark } = window;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone}),
        );
        let scheme = if dark { "dark" } else { "light" };
        self.call(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]}),
        );
    }

    /// Returns the value of an expression in the page.
    #[track_caller]
    pub fn value(&mut self, expression: &str) -> Value {
        let answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// The errors and warnings of the page since it was opened, violations of its policy included.
    pub fn complaints(&mut self) -> Vec<Value> {
        self.value("1");
        let kinds = ["Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"];
        let is = |event: &&Value| kinds.iter().any(|kind| event["method"] == *kind);
        self.events.iter().filter(is).cloned().collect()
    }

    /// The URLs that the page requested since it was opened, except its own and those of embedded data.
    pub fn requests(&mut self) -> Vec<String> {
        self.value("1");
        let urls = self
            .events
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .map(|event| event["params"]["request"]["url"].as_str().unwrap_or_default().to_owned());
        urls.skip(1).filter(|url| !url.starts_with("data:")).collect()
    }

    /// Takes a picture of the whole page, for people.
    pub fn picture(&mut self, name: &str) -> PathBuf {
        let size = self.call("Page.getLayoutMetrics", json!({}))["cssContentSize"].clone();
        let clip = json!({"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1});
        let shot = self.call("Page.captureScreenshot", json!({"captureBeyondViewport": true, "clip": clip}));
        let png = base64::engine::general_purpose::STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        let path = pictures().join(format!("{name}.png"));
        std::fs::write(&path, png).unwrap();
        path
    }
}

/// The folder of pictures, in cargo's folder for files of tests.
pub fn pictures() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
