//! What happens in a job, for who watches it: the last lines, and those to come. Who is too slow misses lines and
//! is told how many; a job never waits for a watcher.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Lines that are kept for who comes late.
const KEPT: usize = 256;

/// Something that happened in a job.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// In words, as `cordon run` has them; what comes from the job is escaped.
    pub text: String,
    /// It is how the job ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over: bool,
}

/// The lines of one job.
#[derive(Debug)]
pub struct Feed {
    last: Mutex<VecDeque<Line>>,
    sender: broadcast::Sender<Line>,
}

impl Default for Feed {
    fn default() -> Self {
        let (sender, _nobody_yet) = broadcast::channel(KEPT);
        Self {
            last: Mutex::default(),
            sender,
        }
    }
}

impl Feed {
    /// Tells a line.
    pub fn tell(&self, text: String) {
        self.add(text, false);
    }

    /// Tells how the job ended.
    pub fn tell_end(&self, text: String) {
        self.add(text, true);
    }

    fn add(&self, text: String, over: bool) {
        let line = Line {
            at: Timestamp::now(),
            text,
            over,
        };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() >= KEPT {
            last.pop_front();
        }
        last.push_back(line.clone());
        // Nobody watches: that is no error. Told under the lock, so that no watcher misses it or has it twice.
        let _watchers = self.sender.send(line);
    }

    /// The last lines, and those to come.
    #[must_use]
    pub fn watch(&self) -> (Vec<Line>, broadcast::Receiver<Line>) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        (last.iter().cloned().collect(), receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_has_the_last_lines_and_each_line_once() {
        let feed = Feed::default();
        for number in 0..KEPT + 2 {
            feed.tell(number.to_string());
        }
        let (last, mut receiver) = feed.watch();
        assert_eq!(last.len(), KEPT);
        assert_eq!(last.last().unwrap().text, (KEPT + 1).to_string());
        feed.tell("new".to_owned());
        assert_eq!(receiver.try_recv().unwrap().text, "new");
        receiver.try_recv().unwrap_err();
    }
}
