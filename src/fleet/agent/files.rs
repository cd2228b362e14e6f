//! The message files of a run on an agent.

use std::time::Instant;

use super::{Agent, FilePaths, busy};
use crate::fleet::bus::ANSWER_WITHIN;
use crate::fleet::files::{AnnouncedFile, ContentPart, ReceivedFiles};
use crate::fleet::message::AgentAnswer;
use crate::generator::clock;

/// The files that have come or are coming, and the time of the last part.
pub(super) struct FilesAtHand {
    received: ReceivedFiles,
    heard: Instant,
}

impl FilesAtHand {
    /// Whether these are the files of this run.
    pub(super) fn is_of(&self, run: &str) -> bool {
        self.received.run() == run
    }

    /// Returns the time at which the files are dropped if no further part arrives.
    pub(super) fn deadline(&self) -> Instant {
        self.heard + ANSWER_WITHIN * 3
    }
}

impl Agent {
    /// Prepares a folder for message files. The files of an earlier run are removed.
    pub(super) fn announce(&mut self, run: &str, files: Vec<AnnouncedFile>) -> AgentAnswer {
        if let Some(work) = &self.work {
            return busy(work);
        }
        self.files = None;
        match ReceivedFiles::announced(&self.settings.spool, run, files) {
            Ok(received) => {
                self.files = Some(FilesAtHand { received, heard: clock::now() });
                AgentAnswer::Done
            }
            Err(why) => AgentAnswer::Refused(why),
        }
    }

    /// Stores a part of a content.
    pub(super) fn content(&mut self, part: &ContentPart) -> AgentAnswer {
        let Some(files) = self.files.as_mut().filter(|_| self.work.is_none()) else {
            return AgentAnswer::Refused("no message files were announced".to_owned());
        };
        files.heard = clock::now();
        match files.received.take(part) {
            Ok(()) => AgentAnswer::Done,
            Err(why) => AgentAnswer::Refused(why),
        }
    }

    /// Returns the paths of the files that came for this run.
    pub(super) fn file_paths(&self, run: &str) -> Result<FilePaths, String> {
        self.files.as_ref().map_or_else(|| Ok(FilePaths::new()), |files| files.received.places(run))
    }
}
