//! Images: a store that all jobs of the host share, filled by the engine over its own connections.

use std::sync::PoisonError;

use cordon_engine::image::Registry;
use cordon_engine::protocol::{Answer, Ask, Note};
use cordon_engine::refusal::{Refusal, printable};

use super::mediator::{Mediator, unanswered};

impl Mediator {
    /// Fails unless the job's rules allow the registry that the engine would ask.
    pub(crate) async fn may_ask(&self, registry: Registry) -> Result<(), Refusal> {
        let Registry { host, port } = registry;
        let ask = Ask::MayReach {
            host: host.clone(),
            port,
        };
        match self.control.ask(ask).await.map_err(unanswered)? {
            Answer::Refused(why) => Err(Refusal::forbidden(
                format!("the registry `{host}:{port}`"),
                format!("no rule allows it: {why}"),
            )),
            Answer::Done | Answer::Port(_) => {
                self.note(Note::Registry { host }).await;
                Ok(())
            }
        }
    }

    /// Takes a name for an image of the job. A name that is another's stays another's: who uses it next
    /// would run this job's image.
    pub(crate) async fn take_tag(&self, name: &str, tag: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Ok(());
        }
        let (name, tag) = self.may_name(name, tag).await?;
        self.tags
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(format!("{name}:{tag}"));
        Ok(())
    }

    /// Whether an image of the job may have that name; its two parts.
    pub(crate) async fn may_name(
        &self,
        name: &str,
        tag: &str,
    ) -> Result<(String, String), Refusal> {
        let (name, tag) = match (name.rsplit_once(':'), tag) {
            (Some((name, tag)), "") if !tag.contains('/') => (name, tag),
            (_, "") => (name, "latest"),
            (_, tag) => (name, tag),
        };
        let whole = format!("{name}:{tag}");
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/-".contains(&byte);
        if whole.len() > 256
            || tag.contains('/')
            || !whole.bytes().all(good)
            || whole.split('/').any(|part| part.is_empty() || part == "..")
        {
            return Err(Refusal::unknown(format!(
                "the image name `{}`",
                printable(&whole)
            )));
        }
        if !self.is_own_tag(&whole) {
            let asked = self.engine.get(&format!("/images/{whole}/json")).await;
            let (status, _) = asked.map_err(unanswered)?;
            if status != 404 {
                return Err(Refusal::forbidden(
                    format!("the image name `{whole}`"),
                    "the engine has such an image, and other jobs may use it. Choose another name",
                ));
            }
        }
        Ok((name.to_owned(), tag.to_owned()))
    }

    /// Whether this job has given that name.
    pub(crate) fn is_own_tag(&self, name: &str) -> bool {
        let tags = self.tags.lock().unwrap_or_else(PoisonError::into_inner);
        tags.contains(name) || tags.contains(&format!("{name}:latest"))
    }
}
