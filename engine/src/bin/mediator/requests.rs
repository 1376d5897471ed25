//! What becomes of each kind of request.

use std::sync::Arc;

use cordon_engine::create::{
    judge_commit, judge_connect, judge_create, judge_disconnect, judge_exec, judge_exec_start,
    judge_network, judge_update, judge_volume,
};
use cordon_engine::fields;
use cordon_engine::image::Registry;
use cordon_engine::job::Judged;
use cordon_engine::protocol::{Ask, Note};
use cordon_engine::refusal::Refusal;
use cordon_engine::route::{Carries, Kind, Route};
use cordon_engine::shown::{list_ports, narrow, show_ports, text};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;

use super::answer::{Body, bytes, changed, nothing, passed, streamed};
use super::mediator::{Mediator, unanswered};
use super::upstream::read;

/// Largest JSON body of a request.
const BODY_BYTES: usize = 4 << 20;

/// Headers that go along: credentials for a registry, which the engine reads, and for copying files.
const PASSED: [HeaderName; 2] = [
    HeaderName::from_static("x-registry-auth"),
    HeaderName::from_static("x-docker-container-path-stat"),
];

impl Mediator {
    /// Does what a request of the table asks, if the job may have it.
    pub(crate) async fn act(
        self: &Arc<Self>,
        mut route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        match route.kind {
            Kind::Plain | Kind::Image => self.relay_request(&route, request, None).await,
            Kind::OwnList => {
                narrow(&mut route.query, &self.job.id)?;
                self.relay_request(&route, request, None).await
            }
            Kind::ContainerList => {
                narrow(&mut route.query, &self.job.id)?;
                let answer = self.relay_request(&route, request, None).await?;
                self.rewrite(answer, |this, list| {
                    for container in list.as_array_mut().into_iter().flatten() {
                        let ports = this.published.of(text(container, "/Id"));
                        list_ports(container, &ports);
                    }
                })
                .await
            }
            Kind::Container
            | Kind::ContainerInspect
            | Kind::ContainerStart
            | Kind::ContainerRemove
            | Kind::ContainerUpdate
            | Kind::ExecCreate => self.act_on_container(route, request).await,
            Kind::ContainerCreate => self.create(&route, request).await,
            Kind::Exec | Kind::ExecStart => {
                let _container = self.exec(&route.name).await?;
                let judged = match route.kind {
                    Kind::ExecStart => Some(Judgement::ExecStart),
                    _ => None,
                };
                self.relay_request(&route, request, judged).await
            }
            Kind::Network
            | Kind::NetworkRemove
            | Kind::NetworkConnect
            | Kind::NetworkDisconnect => self.act_on_network(route, request).await,
            Kind::NetworkCreate => {
                let answer = self
                    .relay_request(&route, request, Some(Judgement::Network))
                    .await?;
                self.opened(answer).await
            }
            Kind::Volume => {
                self.own_volume(&route.name).await?;
                self.relay_request(&route, request, None).await
            }
            Kind::VolumeCreate => {
                self.relay_request(&route, request, Some(Judgement::Volume))
                    .await
            }
            Kind::ImageCreate
            | Kind::ImagePush
            | Kind::ImageTag
            | Kind::ImageRemove
            | Kind::Distribution => {
                self.act_on_image(&route).await?;
                self.relay_request(&route, request, None).await
            }
            Kind::Commit => self.commit(route, request).await,
            Kind::Auth => {
                let (head, body) = request.into_parts();
                let body = whole(body).await?;
                let asked = fields::object(&body)?;
                let address = fields::text(&asked, "serveraddress")?;
                self.may_ask(Registry::of_address(&address)?).await?;
                self.pass(
                    &route,
                    &head.headers,
                    bytes(Value::Object(asked).to_string()),
                    None,
                )
                .await
            }
            Kind::Build => self.build(route, request).await,
        }
    }

    async fn act_on_container(
        self: &Arc<Self>,
        mut route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let container = self.container(&route.name).await?;
        let id = text(&container, "/Id").to_owned();
        route.rename(&id);
        match route.kind {
            Kind::ContainerInspect => {
                let answer = self.relay_request(&route, request, None).await?;
                self.rewrite(answer, |this, container| {
                    let ports = this.published.of(text(container, "/Id"));
                    if !ports.is_empty() {
                        show_ports(container, &ports);
                    }
                })
                .await
            }
            Kind::ContainerStart => {
                let answer = self.relay_request(&route, request, None).await?;
                if answer.status().is_success() {
                    let image = text(&container, "/Config/Image").to_owned();
                    self.note(Note::Started { image }).await;
                }
                Ok(answer)
            }
            Kind::ContainerRemove => {
                let answer = self.relay_request(&route, request, None).await?;
                if answer.status().is_success() {
                    self.published.forget(&id);
                }
                Ok(answer)
            }
            Kind::ContainerUpdate => {
                self.relay_request(&route, request, Some(Judgement::Update))
                    .await
            }
            Kind::ExecCreate => {
                self.relay_request(&route, request, Some(Judgement::Exec))
                    .await
            }
            _ => self.relay_request(&route, request, None).await,
        }
    }

    async fn act_on_network(
        self: &Arc<Self>,
        mut route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let network = self.network(&route.name).await?;
        route.rename(text(&network, "/Id"));
        match route.kind {
            Kind::NetworkRemove => {
                let closed = self.close_network(&network).await;
                let answer = self.relay_request(&route, request, None).await?;
                // It is still there, as containers in it say.
                if let Some(subnet) = closed.filter(|_| !answer.status().is_success()) {
                    self.ask_about(Ask::AllowNetwork(subnet)).await?;
                } else if text(&network, "/Name") == self.job.network {
                    *self.network.lock().await = false;
                }
                Ok(answer)
            }
            Kind::NetworkConnect => {
                self.relay_request(&route, request, Some(Judgement::Connect))
                    .await
            }
            Kind::NetworkDisconnect => {
                self.relay_request(&route, request, Some(Judgement::Disconnect))
                    .await
            }
            _ => self.relay_request(&route, request, None).await,
        }
    }

    async fn create(
        self: &Arc<Self>,
        route: &Route,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let (head, body) = request.into_parts();
        let judged = judge_create(&self.job, &whole(body).await?)?;
        self.meet(&judged.needs).await.map_err(Refusal::of_create)?;
        self.own_network().await?;
        let reserved = self.reserve(&judged.ports).await?;
        let answer = self
            .pass(route, &head.headers, bytes(judged.body), None)
            .await?;
        if !answer.status().is_success() {
            return Ok(answer);
        }
        let mut made = String::new();
        let warnings = judged.warnings;
        let answer = self
            .rewrite(answer, |_, created| {
                text(created, "/Id").clone_into(&mut made);
                warn(created, &warnings);
            })
            .await?;
        self.publish(&made, reserved);
        Ok(answer)
    }

    async fn opened(&self, answer: Response<Body>) -> Result<Response<Body>, Refusal> {
        if !answer.status().is_success() {
            return Ok(answer);
        }
        let mut made = String::new();
        let answer = self
            .rewrite(answer, |_, created| {
                text(created, "/Id").clone_into(&mut made);
            })
            .await?;
        self.open_network(&made).await?;
        Ok(answer)
    }

    async fn act_on_image(&self, route: &Route) -> Result<(), Refusal> {
        let get = |key: &str| route.query.get(key).unwrap_or_default();
        match route.kind {
            Kind::ImagePush | Kind::Distribution => {
                self.may_ask(Registry::of_image(&route.name)?).await
            }
            Kind::ImageTag => self.take_tag(get("repo"), get("tag")).await,
            Kind::ImageRemove if self.is_own_tag(&route.name) => Ok(()),
            Kind::ImageRemove => Err(Refusal::forbidden(
                "removing this image",
                "images are shared by all jobs of the host. A job removes the names it has given",
            )),
            _ => match (get("fromImage"), get("fromSrc")) {
                ("", "-") => self.take_tag(get("repo"), get("tag")).await,
                ("", _) => Err(Refusal::forbidden(
                    "an image from an address",
                    "the engine would fetch it past the job's rules. Fetch it in the job, and pipe it to \
                     `docker import -`",
                )),
                (image, "") => self.may_ask(Registry::of_image(image)?).await,
                _ => Err(Refusal::unknown("an image from two places")),
            },
        }
    }

    async fn commit(
        &self,
        mut route: Route,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let container = self
            .container(route.query.get("container").unwrap_or_default())
            .await?;
        route.query.set("container", text(&container, "/Id"));
        let (name, tag) = (route.query.get("repo"), route.query.get("tag"));
        self.take_tag(name.unwrap_or_default(), tag.unwrap_or_default())
            .await?;
        self.relay_request(&route, request, Some(Judgement::Commit))
            .await
    }

    /// Passes a request on, after its body was judged.
    async fn relay_request(
        &self,
        route: &Route,
        mut request: Request<Incoming>,
        judgement: Option<Judgement>,
    ) -> Result<Response<Body>, Refusal> {
        let client = takes_over(route, &mut request)?;
        let (head, body) = request.into_parts();
        let body = match (judgement, route.carries) {
            (Some(judgement), _) => {
                let judged = judgement.judge(self, &whole(body).await?)?;
                self.meet(&judged.needs).await?;
                bytes(judged.body)
            }
            (None, Carries::Stream) => streamed(body),
            (None, _) => nothing(),
        };
        self.pass(route, &head.headers, body, client).await
    }

    /// The last step: what is passed on is made here, and nothing of the client's goes along unread.
    async fn pass(
        &self,
        route: &Route,
        from: &hyper::HeaderMap,
        body: Body,
        client: Option<OnUpgrade>,
    ) -> Result<Response<Body>, Refusal> {
        let method = method_of(route);
        let mut request = Request::new(body);
        *request.method_mut() = method.clone();
        let target = route.target().parse();
        *request.uri_mut() =
            target.map_err(|_no_target| Refusal::unknown("a request of this form"))?;
        let headers = request.headers_mut();
        for name in PASSED {
            if let Some(value) = from.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let kind = match route.carries {
            Carries::Json => Some("application/json"),
            Carries::Stream => Some("application/x-tar"),
            // A process is started with JSON; an attached one with nothing.
            Carries::Connection if route.kind == Kind::ExecStart => Some("application/json"),
            Carries::Connection | Carries::Nothing => None,
        };
        if let Some(kind) = kind {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if client.is_some() {
            headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(UPGRADE, HeaderValue::from_static("tcp"));
        }
        let mut answer = self.engine.send(request).await.map_err(unanswered)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let engine = hyper::upgrade::on(&mut answer);
            let client =
                client.ok_or_else(|| unanswered("it takes the connection over unasked"))?;
            drop(tokio::spawn(join(client, engine)));
        }
        Ok(passed(answer))
    }

    /// Changes a JSON answer.
    async fn rewrite(
        &self,
        answer: Response<Body>,
        change: impl FnOnce(&Self, &mut Value) + Send,
    ) -> Result<Response<Body>, Refusal> {
        if !answer.status().is_success() {
            return Ok(answer);
        }
        let (head, body) = answer.into_parts();
        let body = read(body).await.map_err(unanswered)?;
        let mut value = serde_json::from_slice(&body).map_err(unanswered)?;
        change(self, &mut value);
        Ok(changed(Response::from_parts(head, ()), &value))
    }
}

/// How a body is judged.
#[derive(Clone, Copy)]
enum Judgement {
    Commit,
    Connect,
    Disconnect,
    Exec,
    ExecStart,
    Network,
    Update,
    Volume,
}

impl Judgement {
    fn judge(self, mediator: &Mediator, body: &[u8]) -> Result<Judged, Refusal> {
        let job = &mediator.job;
        match self {
            Self::Commit => judge_commit(job, body),
            Self::Connect => judge_connect(body),
            Self::Disconnect => judge_disconnect(body),
            Self::Exec => judge_exec(body),
            Self::ExecStart => judge_exec_start(body),
            Self::Network => judge_network(job, body),
            Self::Update => judge_update(body),
            Self::Volume => judge_volume(job, body),
        }
    }
}

fn method_of(route: &Route) -> hyper::Method {
    route.method.parse().unwrap_or_default()
}

/// Adds to the warnings a client shows.
fn warn(created: &mut Value, warnings: &[String]) {
    let Some(created) = created.as_object_mut().filter(|_| !warnings.is_empty()) else {
        return;
    };
    let mut all: Vec<Value> = match created.remove("Warnings") {
        Some(Value::Array(known)) => known,
        _ => Vec::new(),
    };
    all.extend(
        warnings
            .iter()
            .map(|warning| json!(format!("cordon: {warning}"))),
    );
    created.insert("Warnings".to_owned(), Value::Array(all));
}

/// The client's side of a connection that is taken over, if the request asks for that as it should.
fn takes_over(
    route: &Route,
    request: &mut Request<Incoming>,
) -> Result<Option<OnUpgrade>, Refusal> {
    if route.carries != Carries::Connection {
        return Ok(None);
    }
    let protocol = request
        .headers()
        .get(UPGRADE)
        .and_then(|value| value.to_str().ok());
    match protocol {
        Some(protocol) if protocol.eq_ignore_ascii_case("tcp") => {
            Ok(Some(hyper::upgrade::on(request)))
        }
        // A process that is started in the background says nothing.
        None if route.kind == Kind::ExecStart => Ok(None),
        _ => Err(Refusal::unknown(
            "an attached connection without `Upgrade: tcp`",
        )),
    }
}

/// Two connections become one.
async fn join(client: OnUpgrade, engine: OnUpgrade) {
    let (Ok(client), Ok(engine)) = (client.await, engine.await) else {
        return;
    };
    let (mut client, mut engine) = (TokioIo::new(client), TokioIo::new(engine));
    let _ended = copy_bidirectional(&mut client, &mut engine).await;
}

/// A JSON body, which has a bound.
async fn whole(body: Incoming) -> Result<hyper::body::Bytes, Refusal> {
    let read = Limited::new(body, BODY_BYTES).collect().await;
    read.map(http_body_util::Collected::to_bytes)
        .map_err(|_too_long| Refusal::unknown("a request that is cut short, or larger than 4 MiB"))
}
