use proptest::prelude::*;

use super::*;

fn job() -> Job {
    Job {
        id: "job-1".to_owned(),
        cgroup_parent: "/cordon.slice/job-1".to_owned(),
        network: "cordon-job-1".to_owned(),
        runtime: "cordon".to_owned(),
        workspace: Vec::new(),
    }
}

/// An id that tells its image.
fn id(name: &str) -> String {
    let digits: Vec<String> = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    let digits = digits.concat();
    format!("{digits:0>64}").chars().take(64).collect()
}

fn written(text: &str, target: &str) -> Result<String, Refusal> {
    let given = BTreeMap::from([("GIVEN".to_owned(), "7".to_owned())]);
    let read = Dockerfile::read(text.as_bytes(), &given, target)?;
    let ids = read
        .images()
        .into_iter()
        .map(|name| (name.to_owned(), id(name)));
    read.write(&job(), &ids.collect())
}

const LABELLED: &str = "LABEL dev.cordon.job=job-1";

#[test]
fn images_are_ids_and_stages_have_names_of_ours() {
    let text = "\
ARG V=3
ARG GIVEN
FROM --platform=linux/amd64 base:$V AS Build
RUN a && \\
    b
FROM build as next
COPY --from=0 /a /b
COPY --from=BUILD --chown=$U:1 /a $B
COPY --from=other/image:${GIVEN} /a /b
FROM scratch
ADD --chown=1 [\"a\", \"b/\"]
ADD a  b/
";
    let error = written(text, "").unwrap_err();
    assert!(
        error.message.contains("--from=other/image:${GIVEN}"),
        "{error}"
    );
    let text = text.replace("${GIVEN}", "7");
    let expected = format!(
        "ARG V=3\nARG GIVEN\n\
         FROM --platform=linux/amd64 {base} AS cordon-stage-0\n{LABELLED}\nRUN a &&     b\n\
         FROM cordon-stage-0 AS cordon-stage-1\n{LABELLED}\n\
         COPY --from=cordon-stage-0 /a /b\n\
         COPY --from=cordon-stage-0 --chown=$U:1 /a $B\n\
         COPY --from={other} /a /b\n\
         FROM scratch AS cordon-stage-2\n{LABELLED}\n\
         ADD --chown=1 [\"a\",\"b/\"]\nADD [\"a\",\"b/\"]\n",
        base = id("base:3"),
        other = id("other/image:7"),
    );
    assert_eq!(written(&text, "").unwrap(), expected);
    for (target, last) in [("BUILD", 0), ("1", 1), ("next", 1), ("2", 2)] {
        let written = written(&text, target).unwrap();
        let stages = written.matches("FROM ").count();
        assert_eq!(stages, last + 1, "{target}");
    }
    for target in ["3", "none", "-1", "cordon-stage-0"] {
        assert!(written(&text, target).err().is_some(), "{target}");
    }
}

#[test]
fn an_image_is_not_what_a_variable_of_a_step_says() {
    let text = "FROM a\nARG X=evil.test/x\nENV Y=evil.test/x\nFROM $X\n";
    assert!(written(text, "").err().is_some());
    assert_eq!(
        written("ARG X=a\nFROM ${X}:$GIVEN\n", "")
            .err()
            .map(|error| error.status),
        Some(403),
        "an argument that came with the request and is not declared"
    );
}

#[test]
fn what_an_engine_would_fetch_is_refused() {
    for step in [
        "ADD http://evil.test/x /x",
        "ADD HTTPS://evil.test/x /x",
        "add http://evil.test/x /x",
        "ADD h\"ttp\"://evil.test/x /x",
        "ADD $X /x",
        "ADD ${X} /x",
        "ADD a $X",
        "ADD [\"http://evil.test/x\", \"/x\"]",
        "ADD [\"\\u0068ttp://evil.test/x\", \"/x\"]",
        "ADD [\"a\"",
        "ADD [\"a\"]",
        "ADD a",
        "ADD git@evil.test:x.git /x",
        "ADD github.com/x/y /x",
        "ADD --keep-git-dir=true a b",
        "ADD --checksum=x a b",
        "ADD h\\\nttp://evil.test/x /x",
        "A\\\nDD http://evil.test/x /x",
        "RUN --mount=type=cache,target=/x true",
        "RUN  --network=host true",
        "RUN \\\n --security=insecure true",
        "RUN <<EOF",
        "COPY <<EOF /x",
        "COPY --link a b",
        "COPY --chmod=1 a b",
        "COPY --from=$X a b",
        "COPY --from=x --from=y a b",
        "COPY --from=\"x\" a b",
        "COPY --from=0 a b",
        "COPY --from=9 a b",
        "COPY --from=../x a b",
        "COPY --from=x",
        "ONBUILD ADD http://evil.test/x /x",
        "LABEL dev.cordon.job=other",
        "LABEL a=b \"dev.cor\"don.job=other",
        "LABEL de\\v.cordon.job other",
        "INCLUDE x",
        "USER --x",
        "ENV",
        "FROM a b",
        "FROM a as 1x",
        "FROM --other=x a",
        "FROM --platform=$X a",
        "FROM -x",
        "FROM a/../b",
        "FROM \"a\"",
    ] {
        let text = format!("FROM a\n{step}\n");
        assert!(written(&text, "").err().is_some(), "{step}");
    }
    for text in [
        "",
        "RUN a\nFROM b",
        "# FROM a",
        "FROM a AS x\nFROM b AS X",
        "ARG\nFROM a",
    ] {
        assert!(written(text, "").err().is_some(), "{text:?}");
    }
}

#[test]
fn a_label_is_followed_by_ours() {
    let written = written("FROM a\nLABEL $X=other\nRUN b\n", "").unwrap();
    assert!(
        written.ends_with(&format!("LABEL $X=other\n{LABELLED}\nRUN b\n")),
        "{written}"
    );
}

#[test]
fn usual_instructions_go_on_as_they_are() {
    for step in [
        "RUN [\"a\", \"b\"]",
        "CMD [\"a\"]",
        "ENTRYPOINT a b",
        "ENV A=1 B=\"2 3\"",
        "EXPOSE 80/tcp",
        "HEALTHCHECK --interval=5m CMD a",
        "HEALTHCHECK NONE",
        "MAINTAINER a",
        "SHELL [\"/bin/sh\", \"-c\"]",
        "STOPSIGNAL 9",
        "USER 1:1",
        "VOLUME /a",
        "WORKDIR /a b",
        "ARG A=\"b c\"",
        "COPY [\"a b\", \"c\"]",
        "COPY a\\ b $C",
        "RUN echo 'é' \"\\\\n\" | cat # no comment",
    ] {
        let written = written(&format!("FROM a\n{step}"), "").unwrap();
        assert!(
            written.ends_with(&format!("{LABELLED}\n{step}\n")),
            "{step}: {written}"
        );
    }
}

/// Whatever was read: what the engine gets has these lines and no others.
fn check(text: &str) {
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap();
        assert!(!line.ends_with('\\') && !line.contains('\r'), "{line:?}");
        match word {
            "FROM" => {
                let (image, name) = rest.rsplit_once(" AS ").unwrap();
                let image = image.rsplit(' ').next().unwrap();
                let fine = is_id(image) || image == "scratch" || image.starts_with("cordon-stage-");
                assert!(fine && name.starts_with("cordon-stage-"), "{line:?}");
            }
            "ADD" => assert!(
                !rest.contains([':', '$', '\\']) || rest.starts_with("--chown"),
                "{line:?}"
            ),
            "RUN" => assert!(!rest.starts_with("--"), "{line:?}"),
            "COPY" => {
                if let Some((_, from)) = rest
                    .split_once("--from=")
                    .filter(|_| rest.starts_with("--"))
                {
                    let from = from.split(' ').next().unwrap();
                    assert!(is_id(from) || from.starts_with("cordon-stage-"), "{line:?}");
                }
            }
            "LABEL" => {}
            word => assert!(PLAIN.contains(&word), "{line:?}"),
        }
    }
    // Written, it is read as the same.
    let again = Dockerfile::read(text.as_bytes(), &BTreeMap::new(), "").unwrap_or_else(|refusal| {
        assert!(refusal.message.contains("cordon's own"), "{refusal}");
        Dockerfile::read(b"FROM scratch", &BTreeMap::new(), "").unwrap()
    });
    assert!(again.images().iter().all(|image| is_id(image)), "{text}");
}

proptest! {
    #[test]
    fn any_text_is_refused_or_made_safe(text in "(?s).{0,200}") {
        if let Ok(written) = written(&text, "") {
            check(&written);
        }
    }

    #[test]
    fn any_words_are_refused_or_made_safe(
        words in proptest::collection::vec(
            "(FROM|from|ADD|COPY|RUN|ARG|LABEL|ENV|AS|a|b|scratch|--from=(a|0|b)|--platform=x|http://e/|\\$A|\\$\\{A\\}|\\\\|\"|'|\\[|\\]|#|=|A=a|<<E| |\t|\n|\r\n|\u{a0}){1,3}",
            0..40,
        )
    ) {
        let text = format!("FROM a AS b\n{}", words.join(" "));
        if let Ok(written) = written(&text, "") {
            check(&written);
        }
        let text = format!("FROM a AS b\n{}", words.concat());
        if let Ok(written) = written(&text, "") {
            check(&written);
        }
    }
}
