//! Whether what a request speaks of is the job's.

use cordon_engine::job::{LABEL, Need};
use cordon_engine::protocol::{Answer, Ask, Subnet};
use cordon_engine::refusal::Refusal;
use cordon_engine::shown::{is_own, subnet, text};
use hyper::Method;
use serde_json::{Value, json};

use super::mediator::{Mediator, unanswered};
use super::upstream::{is_good, message};

impl Mediator {
    /// Fails unless all of it is the job's.
    pub(crate) async fn meet(&self, needs: &[Need]) -> Result<(), Refusal> {
        for need in needs {
            match need {
                Need::Container(name) => drop(self.container(name).await?),
                Need::Network(name) if *name == self.job.network => self.own_network().await?,
                Need::Network(name) => drop(self.network(name).await?),
                Need::Volume(name) => self.volume(name).await?,
            }
        }
        Ok(())
    }

    /// A container of the job.
    pub(crate) async fn container(&self, name: &str) -> Result<Value, Refusal> {
        self.find("container", "containers", name, "/json").await
    }

    /// A network of the job.
    pub(crate) async fn network(&self, name: &str) -> Result<Value, Refusal> {
        self.find("network", "networks", name, "").await
    }

    /// A process that was made in a container of the job; its container.
    pub(crate) async fn exec(&self, id: &str) -> Result<Value, Refusal> {
        if !is_name(id) {
            return Err(Refusal::missing("process", id));
        }
        let asked = self.engine.get(&format!("/exec/{id}/json")).await;
        let (status, exec) = asked.map_err(unanswered)?;
        let container = text(&exec, "/ContainerID");
        if status != 200 || container.is_empty() {
            return Err(Refusal::missing("process", id));
        }
        self.container(container).await
    }

    async fn find(&self, what: &str, list: &str, name: &str, rest: &str) -> Result<Value, Refusal> {
        if !is_name(name) {
            return Err(Refusal::missing(what, name));
        }
        let asked = self.engine.get(&format!("/{list}/{name}{rest}")).await;
        match asked.map_err(unanswered)? {
            (200, found) if is_own(&found, &self.job.id) => Ok(found),
            _ => Err(Refusal::missing(what, name)),
        }
    }

    /// A volume of the job, which is there.
    pub(crate) async fn own_volume(&self, name: &str) -> Result<(), Refusal> {
        self.find("volume", "volumes", name, "").await.map(drop)
    }

    /// A volume of the job. One that is not there is made, with the job's label: the engine would make it
    /// without.
    pub(crate) async fn volume(&self, name: &str) -> Result<(), Refusal> {
        if !is_name(name) {
            return Err(Refusal::missing("volume", name));
        }
        let asked = self.engine.get(&format!("/volumes/{name}")).await;
        match asked.map_err(unanswered)? {
            (200, found) if is_own(&found, &self.job.id) => return Ok(()),
            (404, _) => {}
            _ => return Err(Refusal::missing("volume", name)),
        }
        let volume = json!({"Name": name, "Driver": "local", "Labels": {LABEL: self.job.id}});
        let made = self
            .engine
            .ask(Method::POST, "/volumes/create", Some(&volume))
            .await;
        match made.map_err(unanswered)? {
            (status, _) if is_good(status) => Ok(()),
            (_, answer) => Err(Refusal::failed(format!(
                "the volume was not made: {}",
                message(&answer)
            ))),
        }
    }

    /// Makes the network that containers are in where they name none, once.
    pub(crate) async fn own_network(&self) -> Result<(), Refusal> {
        let mut made = self.network.lock().await;
        if *made {
            return Ok(());
        }
        let network = json!({
            "Name": self.job.network, "CheckDuplicate": true, "Driver": "bridge", "EnableIPv6": false,
            "Labels": {LABEL: self.job.id},
        });
        let asked = self
            .engine
            .ask(Method::POST, "/networks/create", Some(&network))
            .await;
        let (status, answer) = asked.map_err(unanswered)?;
        if !is_good(status) {
            let why = message(&answer);
            return Err(Refusal::failed(format!(
                "the job's network was not made: {why}"
            )));
        }
        self.open_network(text(&answer, "/Id")).await?;
        *made = true;
        drop(made);
        Ok(())
    }

    /// Opens the networks that the job has from before its mediator was killed.
    pub(crate) async fn find_networks(&self) {
        for network in self.listed("/networks", "").await {
            // The engine has it, and does without cordon's leave what it does; the kernel does not.
            if let Some(subnet) = subnet(&network) {
                let _closed = self.ask_about(Ask::AllowNetwork(subnet)).await;
            }
            if text(&network, "/Name") == self.job.network {
                *self.network.lock().await = true;
            }
        }
    }

    /// Lets containers reach each other in a network that was just made, or removes it.
    pub(crate) async fn open_network(&self, id: &str) -> Result<(), Refusal> {
        let network = self.network(id).await?;
        let opened = match subnet(&network) {
            Some(subnet) => self.ask_about(Ask::AllowNetwork(subnet)).await,
            None => Err(Refusal::failed("the engine gave the network no addresses")),
        };
        if opened.is_err() {
            let _removed = self
                .engine
                .ask(Method::DELETE, &format!("/networks/{id}"), None)
                .await;
        }
        opened
    }

    /// Takes back what a network allows. Before it goes: its addresses may be another's next.
    pub(crate) async fn close_network(&self, network: &Value) -> Option<Subnet> {
        let subnet = subnet(network)?;
        let _closed = self.ask_about(Ask::ForgetNetwork(subnet)).await;
        Some(subnet)
    }

    /// Asks cordon for leave.
    pub(crate) async fn ask_about(&self, ask: Ask) -> Result<(), Refusal> {
        match self.control.ask(ask).await.map_err(unanswered)? {
            Answer::Refused(why) => Err(Refusal::failed(why)),
            Answer::Done | Answer::Port(_) => Ok(()),
        }
    }
}

/// Whether a name can stand in a path.
fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=256).contains(&name.len())
        && name.bytes().all(good)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
}
