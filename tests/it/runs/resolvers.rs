//! Resolvers with set answers, for tests.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::LocalBoxFuture;
use smtpress::net::dial::Resolve;

/// Each lookup returns the next of `answers`; the last one is repeated.
#[derive(Debug, Default)]
pub struct Answers {
    pub answers: Vec<Vec<IpAddr>>,
    /// How long a lookup takes.
    pub delay: Duration,
    /// How long a lookup blocks its whole thread, as on a machine without a free core.
    pub hold: Duration,
    asked: AtomicUsize,
}

impl Answers {
    /// Returns these answers without a delay.
    pub fn new(answers: Vec<Vec<IpAddr>>) -> Arc<Answers> {
        Arc::new(Answers { answers, ..Answers::default() })
    }

    /// Returns 127.0.0.1 after `delay`.
    pub fn slow(delay: Duration) -> Arc<Answers> {
        Arc::new(Answers { delay, answers: vec![vec![[127, 0, 0, 1].into()]], ..Answers::default() })
    }

    /// Returns 127.0.0.1 by a lookup that blocks its thread.
    pub fn holding(hold: Duration) -> Arc<Answers> {
        Arc::new(Answers { hold, answers: vec![vec![[127, 0, 0, 1].into()]], ..Answers::default() })
    }
}

impl Resolve for Answers {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> LocalBoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            tokio::time::sleep(self.delay).await;
            std::thread::sleep(self.hold);
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let answer = self.answers.get(asked).or(self.answers.last());
            Ok(answer.into_iter().flatten().map(|address| SocketAddr::new(*address, port)).collect())
        })
    }
}
