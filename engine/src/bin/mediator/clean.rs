//! The end of a job: what the engine has of it goes.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use cordon_engine::protocol::Note;
use cordon_engine::query::Query;
use cordon_engine::shown::{children_first, narrow, text};
use hyper::Method;
use serde_json::Value;

use super::mediator::Mediator;
use super::upstream::{is_good, message};

/// How an image is removed: whatever uses it, and without what it is made of, which may be another's.
const IMAGE: &str = "?force=1&noprune=1";
/// What the engine says of one that others are made of.
const CHILDREN: &str = "has dependent child images";

/// Whether this is the id of an image, and no name.
fn is_bare(image: &str) -> bool {
    image.starts_with("sha256:")
}

impl Mediator {
    /// Removes containers, networks, volumes, and images that the job made. Goes on after an error; what is
    /// left is told.
    pub(crate) async fn clean(&self) {
        self.over.store(true, Ordering::SeqCst);
        // First: what is still built would be an image when all has been looked through.
        self.end_builds().await;
        // Twice: what was asked for just before may have come to something meanwhile.
        self.clean_once().await;
        self.clean_once().await;
    }

    async fn clean_once(&self) {
        for container in self.listed("/containers/json?all=1", "").await {
            self.remove("containers", text(&container, "/Id"), "?force=1&v=1")
                .await;
        }
        for network in self.listed("/networks", "").await {
            let _closed = self.close_network(&network).await;
            self.remove("networks", text(&network, "/Id"), "").await;
        }
        for volume in self.listed("/volumes", "/Volumes").await {
            self.remove("volumes", text(&volume, "/Name"), "?force=1")
                .await;
        }
        let tags = std::mem::take(&mut *self.tags.lock().unwrap_or_else(PoisonError::into_inner));
        for tag in tags {
            self.remove("images", &tag, IMAGE).await;
        }
        // All: what a build has made on its way has no name, and is not shown otherwise.
        let images = self.listed("/images/json?all=1", "").await;
        for image in children_first(&images) {
            self.remove("images", image, IMAGE).await;
        }
    }

    /// What a list holds of the job.
    pub(crate) async fn listed(&self, target: &str, pointer: &str) -> Vec<Value> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let narrowed = Query::parse(query).and_then(|mut query| {
            narrow(&mut query, &self.job.id)?;
            Ok(query)
        });
        let Ok(query) = narrowed else {
            return Vec::new();
        };
        let asked = self.engine.get(&format!("{path}{}", query.encode())).await;
        match asked {
            Ok((200, list)) => list
                .pointer(pointer)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
            Ok((status, _)) => {
                self.left(format!("{path}: the engine answers with {status}"))
                    .await
            }
            Err(error) => {
                self.left(format!("{path}: the engine does not answer: {error}"))
                    .await
            }
        }
    }

    async fn remove(&self, list: &str, name: &str, query: &str) {
        let asked = self
            .engine
            .ask(Method::DELETE, &format!("/{list}/{name}{query}"), None)
            .await;
        let why = match asked {
            Ok((status, _)) if is_good(status) || status == 404 => return,
            // It goes by itself, and just now.
            Ok((409, answer)) if message(&answer).contains("already in progress") => return,
            // It has lost its name, and is among those without.
            Ok((409, answer))
                if query == IMAGE && message(&answer).contains(CHILDREN) && !is_bare(name) =>
            {
                return;
            }
            Ok((_, answer)) => message(&answer).to_owned(),
            Err(error) => error.to_string(),
        };
        let _none = self.left(format!("{list}/{name}: {why}")).await;
    }

    async fn left(&self, what: String) -> Vec<Value> {
        self.note(Note::Left { what }).await;
        Vec::new()
    }
}
