//! The page as a whole: what stands in it, and that no text of a job changes what it is made of.

use std::cell::RefCell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer,
};
use proptest::prelude::*;

use super::*;
use crate::report::escape::tests::{HOSTILE, MARKUP, is_harmful};
use crate::report::run::fixture as runs;
use crate::report::sweep::fixture as sweeps;
use crate::report::{fixture, json};

/// The page of three reports, with a comparison.
fn page(egress: &Report, sweep: &SweepReport, baseline: &Report) -> String {
    let run = RunReport::new(
        egress,
        Some(sweep),
        vec![],
        "runner-3.test",
        runs::report().chain,
    );
    let files = [
        json::pretty(egress).unwrap(),
        json::pretty(sweep).unwrap(),
        json::pretty(&run).unwrap(),
    ];
    let images = [Subject::new("registry.test/app", &"1f".repeat(32))];
    render(&Documents {
        egress: Some(Document {
            report: egress,
            file: files[0].as_bytes(),
        }),
        sweep: Some(Document {
            report: sweep,
            file: files[1].as_bytes(),
        }),
        run: Some(Document {
            report: &run,
            file: files[2].as_bytes(),
        }),
        images: &images,
        trust: Trust::NotChecked {
            named: Some("SHA256:key".into()),
        },
        baseline: Some(Baseline {
            egress: baseline,
            sweep: None,
        }),
    })
    .unwrap()
}

fn usual() -> String {
    page(&fixture::report(), &sweeps::report(), &fixture::report())
}

fn saying(text: &str) -> String {
    page(
        &fixture::report_saying(text),
        &sweeps::report_saying(text),
        &fixture::report(),
    )
}

/// Every tag with the names of its attributes, as a parser of browsers reads them, and all text.
#[derive(Default)]
struct Skeleton {
    tags: RefCell<Vec<String>>,
    text: RefCell<String>,
    errors: RefCell<Vec<String>>,
}

impl TokenSink for Skeleton {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(Tag {
                kind, name, attrs, ..
            }) => {
                let names: Vec<_> = attrs.iter().map(|one| one.name.local.to_string()).collect();
                let end = if kind == TagKind::EndTag { "/" } else { "" };
                for attribute in &attrs {
                    self.text.borrow_mut().push_str(&attribute.value);
                }
                self.tags
                    .borrow_mut()
                    .push(format!("{end}{name} {names:?}"));
                // What a tree builder would say: the content is no markup.
                if kind == TagKind::StartTag && matches!(&*name, "script" | "style") {
                    let kind = html5ever::tokenizer::states::RawKind::ScriptData;
                    return TokenSinkResult::RawData(kind);
                }
            }
            Token::CharacterTokens(text) => self.text.borrow_mut().push_str(&text),
            Token::ParseError(error) => self.errors.borrow_mut().push(error.to_string()),
            Token::CommentToken(text) => panic!("a comment: {text}"),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn skeleton(page: &str) -> Skeleton {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(page));
    let tokenizer = Tokenizer::new(
        Skeleton::default(),
        html5ever::tokenizer::TokenizerOpts {
            exact_errors: true,
            ..Default::default()
        },
    );
    drop(tokenizer.feed(&input));
    tokenizer.end();
    tokenizer.sink
}

impl Skeleton {
    /// How often each tag occurs: words may change the order of a tree, and nothing else.
    fn counts(&self) -> Vec<(String, usize)> {
        let mut counts = std::collections::BTreeMap::new();
        for tag in self.tags.borrow().iter() {
            let count: &mut usize = counts.entry(tag.clone()).or_default();
            *count = count.saturating_add(1);
        }
        counts.into_iter().collect()
    }
}

#[test]
fn the_page_is_the_golden_one() {
    fixture::assert_golden("report.html", &usual());
}

#[test]
fn a_parser_finds_no_error_and_every_element_closed() {
    let found = skeleton(&usual());
    assert_eq!(*found.errors.borrow(), Vec::<String>::new());
    let mut open: Vec<String> = vec![];
    for tag in found.tags.borrow().iter() {
        let name = tag.split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop().as_deref(), Some(name)),
            None if matches!(name, "meta" | "input" | "rect" | "line" | "path") => {}
            None => open.push(name.into()),
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn it_says_first_what_it_is_worth() {
    let page = usual();
    let place = |words: &str| page.find(words).unwrap_or_else(|| panic!("{words}"));
    let order = [
        "<strong>Secrets found",
        "<strong>Signatures not checked",
        "What this report can be trusted for",
        "<h4>evil.example.org",
        "Secrets in processes",
        "<th scope=\"row\">api.example.com",
        "Verify it yourself</h2>",
    ];
    assert!(order.map(place).is_sorted());
}

#[test]
fn hostile_words_change_no_element() {
    let plain = skeleton(&saying("plain"));
    for words in HOSTILE.iter().chain(MARKUP) {
        let hostile = skeleton(&saying(words));
        assert_eq!(plain.counts(), hostile.counts(), "{words:?}");
        assert_eq!(*hostile.errors.borrow(), Vec::<String>::new(), "{words:?}");
        let text = hostile.text.borrow().replace('\n', "");
        assert!(!text.contains(is_harmful), "{words:?}");
    }
}

#[test]
fn a_large_report_is_bounded_and_says_what_it_leaves_out() {
    let mut report = fixture::report();
    let (denial, flow) = (report.denials[0].clone(), report.flows[0].clone());
    let address = |number: u32| std::net::IpAddr::V4(number.into());
    report.denials = (0..10_000)
        .map(|number| {
            let mut denial = denial.clone();
            denial.destination.address = address(number);
            denial
        })
        .collect();
    report.flows = (0..10_000)
        .map(|number| {
            let mut flow = flow.clone();
            flow.destination.names = vec![format!("h{number}.example.com")];
            flow
        })
        .collect();
    let page = page(&report, &sweeps::report(), &fixture::report());
    assert!(page.len() < 4 << 20, "{}", page.len());
    assert!(page.contains("9 500 more are in egress-report.json"));
    assert!(page.contains("8 000 more, with fewer bytes"));
    assert!(page.contains("Too large to be repeated here"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_words_give_the_same_elements(words in any::<String>()) {
        prop_assume!(!words.is_empty());
        let (plain, other) = (skeleton(&saying("plain")), skeleton(&saying(&words)));
        prop_assert!(plain.counts() == other.counts(), "{:?}", words);
    }
}
