//! Builds: the context is packed anew on its way to the engine, with a Dockerfile that names no image but by its
//! id; the image gets its names when it is there.

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cordon_engine::build::archive::Context;
use cordon_engine::build::dockerfile::{Dockerfile, is_id};
use cordon_engine::build::{Network, Options, Said};
use cordon_engine::image::Registry;
use cordon_engine::protocol::Note;
use cordon_engine::query::Query;
use cordon_engine::refusal::Refusal;
use cordon_engine::route::Route;
use cordon_engine::shown::{is_own, text};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::answer::{Body, Piece, passed, pieces};
use super::mediator::{Mediator, heard, unanswered};
use super::upstream::{failed, is_good, message};

/// How long the engine may take to end what it builds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that the engine builds.
#[derive(Debug)]
pub(crate) struct Building {
    /// Its connection. An engine that is hung up on ends the build.
    stream: StdUnixStream,
    /// Comes, or is dropped, when it has.
    ended: oneshot::Receiver<()>,
}

/// The other side of that.
struct Held {
    stream: StdUnixStream,
    _ending: oneshot::Sender<()>,
}

impl Held {
    fn hang_up(&self) {
        // It may have hung up itself.
        let _gone = self.stream.shutdown(Shutdown::Write);
    }
}

impl Mediator {
    /// Builds an image.
    pub(crate) async fn build(
        self: &Arc<Self>,
        mut route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let context = request.into_body();
        let options = match self.prepare(&route).await {
            Ok(options) => options,
            Err(refusal) => {
                heard(context).await;
                return Err(refusal);
            }
        };
        route.query = options.query.clone();
        let (sender, body) = pieces();
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = route
            .target()
            .parse()
            .map_err(|_no_target| Refusal::unknown("a build of this form"))?;
        let tar = HeaderValue::from_static("application/x-tar");
        request.headers_mut().insert(CONTENT_TYPE, tar);
        let (mut engine, stream) = self.engine.open().await.map_err(unanswered)?;
        let held = self.hold(stream)?;
        // An answer may come before all of the context has gone.
        let (packed, answer) =
            tokio::join!(self.pack(context, sender, &options), engine.send(request));
        packed?;
        let answer = answer.map_err(unanswered)?;
        if !answer.status().is_success() {
            return Ok(passed(answer));
        }
        let (head, said) = answer.into_parts();
        let (sender, body) = pieces();
        let mediator = Arc::clone(self);
        drop(tokio::spawn(async move {
            // The connection lives as long as what it says is listened to.
            let _engine = engine;
            mediator.listen_to(said, sender, &options, &held).await;
        }));
        let mut answer = Response::new(body);
        *answer.status_mut() = head.status;
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        Ok(answer)
    }

    /// What is asked for, with all of it the job's.
    async fn prepare(&self, route: &Route) -> Result<Options, Refusal> {
        let mut options = Options::judge(&self.job, &route.query)?;
        for name in &options.names {
            self.may_name(name, "").await?;
        }
        let network = match &options.network {
            Network::Named(name) if *name != self.job.network => {
                text(&self.network(name).await?, "/Id").to_owned()
            }
            Network::Own | Network::Named(_) => {
                self.own_network().await?;
                self.job.network.clone()
            }
            Network::Container(name) => {
                format!("container:{}", text(&self.container(name).await?, "/Id"))
            }
            Network::None => "none".to_owned(),
        };
        options.query.set("networkmode", network);
        Ok(options)
    }

    /// Remembers a build, unless it is too late for one.
    fn hold(&self, stream: StdUnixStream) -> Result<Held, Refusal> {
        let (ending, ended) = oneshot::channel();
        let other = stream.try_clone().map_err(unanswered)?;
        let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
        builds.retain_mut(|building| {
            matches!(
                building.ended.try_recv(),
                Err(oneshot::error::TryRecvError::Empty)
            )
        });
        builds.push(Building {
            stream: other,
            ended,
        });
        drop(builds);
        // After: who ends builds says so before.
        if self.over.load(Ordering::SeqCst) {
            return Err(Refusal::failed("the job is over"));
        }
        Ok(Held {
            stream,
            _ending: ending,
        })
    }

    /// Ends what is being built, and waits until the engine has.
    pub(crate) async fn end_builds(&self) {
        let builds = {
            let mut builds = self.builds.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *builds)
        };
        for building in &builds {
            let _gone = building.stream.shutdown(Shutdown::Write);
        }
        for Building { ended, .. } in builds {
            if tokio::time::timeout(PATIENCE, ended).await.is_err() {
                let what = "a build that the engine does not end".to_owned();
                self.note(Note::Left { what }).await;
                return;
            }
        }
    }

    /// Sends the context on; a refused one not whole, and so without a Dockerfile.
    async fn pack(
        &self,
        mut context: Incoming,
        to: mpsc::Sender<Piece>,
        options: &Options,
    ) -> Result<(), Refusal> {
        let packed = self.pack_whole(&mut context, &to, options).await;
        if packed.is_err() {
            // An engine that has given up needs no end.
            let _gone = to.send(Err(failed("it was refused"))).await;
            drop(to);
            heard(context).await;
        }
        packed
    }

    async fn pack_whole(
        &self,
        from: &mut Incoming,
        to: &mpsc::Sender<Piece>,
        options: &Options,
    ) -> Result<(), Refusal> {
        let mut context = Context::new(&options.dockerfile)?;
        let mut out = Context::begin();
        while let Some(frame) = from.frame().await {
            let frame = frame.map_err(|_gone| Refusal::unknown("a context that is cut short"))?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            context.push(bytes, &mut out)?;
            if !out.is_empty() {
                // An engine that has given up says why in its answer.
                let _gone = to.send(Ok(std::mem::take(&mut out).into())).await;
            }
        }
        let dockerfile =
            Dockerfile::read(context.dockerfile()?, &options.arguments, &options.target)?;
        let mut ids = BTreeMap::new();
        let names: Vec<String> = dockerfile.images().into_iter().map(str::to_owned).collect();
        for name in names {
            let id = self.base(&name, options.fetch).await?;
            ids.insert(name, id);
        }
        let dockerfile = dockerfile.write(&self.job, &ids)?;
        let _gone = to.send(Ok(context.end(&dockerfile).into())).await;
        Ok(())
    }

    /// The id of an image that a build begins with.
    async fn base(&self, name: &str, fetch: bool) -> Result<String, Refusal> {
        let here = if !fetch || self.is_own_tag(name) {
            self.local(name).await?
        } else {
            None
        };
        if let Some(id) = here {
            return Ok(id);
        }
        self.fetch(name).await?;
        self.local(name).await?.ok_or_else(|| {
            Refusal::failed(format!(
                "the image `{name}` could not be fetched. `docker pull {name}` says why"
            ))
        })
    }

    async fn local(&self, name: &str) -> Result<Option<String>, Refusal> {
        let asked = self.engine.get(&format!("/images/{name}/json")).await;
        let (status, image) = asked.map_err(unanswered)?;
        if status == 404 {
            return Ok(None);
        }
        let id = text(&image, "/Id")
            .strip_prefix("sha256:")
            .unwrap_or_default();
        if status != 200 || !is_id(id) {
            return Err(Refusal::failed(format!(
                "the engine does not know the image `{name}`: {}",
                message(&image)
            )));
        }
        let triggers = image.pointer("/Config/OnBuild").and_then(Value::as_array);
        if triggers.is_some_and(|triggers| !triggers.is_empty()) {
            return Err(Refusal::forbidden(
                format!("building on the image `{name}`"),
                "it has instructions of its own for that (`ONBUILD`), which nobody has judged. Use another, and \
                 write them into the Dockerfile",
            ));
        }
        Ok(Some(id.to_owned()))
    }

    /// Has the engine fetch an image, as `docker pull` would.
    async fn fetch(&self, name: &str) -> Result<(), Refusal> {
        self.may_ask(Registry::of_image(name)?)
            .await
            .map_err(|refusal| {
                let why = refusal.message.trim_start_matches("cordon: ");
                Refusal::forbidden(format!("the image `{name}`, which is not here,"), why)
            })?;
        let mut query = Query::default();
        match name.rsplit_once(':') {
            _ if name.contains('@') => query.set("fromImage", name),
            Some((name, tag)) if !tag.contains('/') => {
                query.set("fromImage", name);
                query.set("tag", tag);
            }
            _ => {
                query.set("fromImage", name);
                query.set("tag", "latest");
            }
        }
        let target = format!("/images/create{}", query.encode());
        let asked = self.engine.ask(Method::POST, &target, None).await;
        match asked.map_err(unanswered)? {
            (status, _) if is_good(status) => Ok(()),
            (_, answer) => Err(Refusal::failed(format!(
                "the image `{name}` could not be fetched: {}. If it needs a login, `docker pull` it first",
                message(&answer)
            ))),
        }
    }

    /// Passes on what the engine says, and names the image at the end.
    async fn listen_to(
        &self,
        mut from: Incoming,
        to: mpsc::Sender<Piece>,
        options: &Options,
        held: &Held,
    ) {
        let mut said = Said::new(options.query.flag("q"));
        let mut gone = false;
        loop {
            let frame = tokio::select! {
                frame = from.frame() => frame,
                () = to.closed(), if !gone => {
                    // The client has gone: nobody wants the image.
                    gone = true;
                    held.hang_up();
                    continue;
                }
            };
            let bytes = match frame {
                None => break,
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) => {
                    let _gone = to.send(Err(io::Error::other(error))).await;
                    return;
                }
            };
            said.hear(&bytes);
            if !gone {
                let _gone = to.send(Ok(bytes)).await;
            }
        }
        let Some(image) = said.image().filter(|_| !gone) else {
            return;
        };
        let short = image.get(..12).unwrap_or_default().to_owned();
        self.note(Note::Built { image: short }).await;
        for name in &options.names {
            let line = match self.name(image, name).await {
                Ok(_) if options.query.flag("q") => continue,
                Ok(name) => json!({"stream": format!("Successfully tagged {name}\n")}),
                Err(Refusal { message, .. }) => {
                    json!({"errorDetail": {"message": message}, "error": message})
                }
            };
            let _gone = to.send(Ok(format!("{line}\r\n").into())).await;
        }
    }

    /// Gives an image a name, if it is still to be had.
    async fn name(&self, image: &str, name: &str) -> Result<String, Refusal> {
        let asked = self
            .engine
            .get(&format!("/images/sha256:{image}/json"))
            .await;
        let (_, found) = asked.map_err(unanswered)?;
        if !is_own(&found, &self.job.id) {
            return Err(Refusal::missing("image", image));
        }
        let (repository, tag) = self.may_name(name, "").await?;
        self.take_tag(&repository, &tag).await?;
        let mut query = Query::default();
        query.set("repo", repository.as_str());
        query.set("tag", tag.as_str());
        let target = format!("/images/sha256:{image}/tag{}", query.encode());
        let asked = self.engine.ask(Method::POST, &target, None).await;
        match asked.map_err(unanswered)? {
            (status, _) if is_good(status) => Ok(format!("{repository}:{tag}")),
            (_, answer) => Err(Refusal::failed(format!(
                "the image has no name `{name}`: {}",
                message(&answer)
            ))),
        }
    }
}
