//! How a reader checks the evidence without believing this page.

use super::Documents;
use crate::report::Report;
use crate::report::attested::{self, Attested};
use crate::report::run::RunReport;
use crate::report::sweep::SweepReport;

/// Commands to copy, and what they show.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) title: &'static str,
    pub(super) words: &'static str,
    pub(super) lines: Vec<String>,
}

/// Names of files, and of types.
struct Piece {
    report: &'static str,
    bundle: &'static str,
    r#type: &'static str,
}

fn piece<R: Attested>() -> Piece {
    Piece {
        report: R::REPORT_NAME,
        bundle: R::BUNDLE_NAME,
        r#type: <R::Predicate as attested::Attestation>::TYPE,
    }
}

pub(super) fn checks(documents: &Documents<'_>) -> Vec<Check> {
    let mut pieces = Vec::new();
    pieces.extend(documents.egress.map(|_| piece::<Report>()));
    pieces.extend(documents.sweep.map(|_| piece::<SweepReport>()));
    pieces.extend(documents.run.map(|_| piece::<RunReport>()));
    let mut digests: Vec<_> = documents
        .files()
        .iter()
        .map(|(name, sha256)| format!("{sha256}  {name}"))
        .collect();
    digests.insert(0, "sha256sum -c <<'END'".to_owned());
    digests.push("END".to_owned());
    let mut checks = vec![
        Check {
            title: "This page is about these files",
            words: "It was made from them and holds nothing else. In the evidence directory:",
            lines: digests,
        },
        Check {
            title: "The host signed them",
            words: "Get report.pem.pub from the owner of the host, never from beside the evidence.",
            lines: vec!["cordon report verify . --key report.pem.pub".to_owned()],
        },
        Check {
            title: "It is that key",
            words: "The key id is the OpenSSH fingerprint of the public key.",
            lines: vec!["ssh-keygen -i -m PKCS8 -f report.pem.pub | ssh-keygen -lf -".to_owned()],
        },
    ];
    if let Some(first) = pieces.first() {
        checks.push(Check {
            title: "Without cordon, with openssl",
            words: "The signature is over DSSE's encoding of the payload. The last two digests must be \
                    the same.",
            lines: openssl(first),
        });
        checks.push(Check {
            title: "Without cordon, with cosign",
            words: "The key is your own and in no public log; the empty root keeps cosign off the \
                    network.",
            lines: cosign(&pieces),
        });
    }
    checks.push(Check {
        title: "May the image be promoted",
        words: "Status 0 means promote. The policy is yours, and signed.",
        lines: vec![format!(
            "cordon verify . --subject {} --policy release.toml --policy-key policy.pem.pub",
            documents.images.first().map_or_else(
                || "sha256:DIGEST".to_owned(),
                |image| plain_digest(&image.digest.sha256)
            )
        )],
    });
    checks
}

/// A digest for a command line: of a report that somebody edited, nothing reaches a shell.
fn plain_digest(digest: &str) -> String {
    if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        format!("sha256:{digest}")
    } else {
        "sha256:DIGEST".to_owned()
    }
}

fn openssl(piece: &Piece) -> Vec<String> {
    let Piece { report, bundle, .. } = piece;
    vec![
        format!("jq -r .dsseEnvelope.payload {bundle} | base64 -d > payload"),
        format!("jq -r '.dsseEnvelope.signatures[0].sig' {bundle} | base64 -d > signature"),
        "type=application/vnd.in-toto+json".to_owned(),
        "{ printf 'DSSEv1 %d %s %d ' \"${#type}\" \"$type\" \"$(stat -c %s payload)\"; cat payload; } \
         > message"
            .to_owned(),
        "openssl dgst -sha256 -verify report.pem.pub -signature signature message".to_owned(),
        "jq -r '.subject[0].digest.sha256' payload".to_owned(),
        format!("sha256sum {report}"),
    ]
}

fn cosign(pieces: &[Piece]) -> Vec<String> {
    let mut lines = vec![
        "echo '{\"mediaType\":\"application/vnd.dev.sigstore.trustedroot+json;version=0.1\",\"tlogs\":[],\
         \"certificateAuthorities\":[],\"ctlogs\":[],\"timestampAuthorities\":[]}' > empty-root.json"
            .to_owned(),
    ];
    lines.extend(pieces.iter().map(|piece| {
        format!(
            "cosign verify-blob-attestation --key report.pem.pub --insecure-ignore-tlog=true \
             --new-bundle-format --trusted-root empty-root.json --type {} --bundle {} {}",
            piece.r#type, piece.bundle, piece.report
        )
    }));
    lines
}
