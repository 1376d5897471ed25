use proptest::prelude::*;

use super::*;

fn key() -> FingerprintKey {
    FingerprintKey::new([3; 32])
}

fn register(set: &mut KnownSet, label: &str, value: &[u8]) -> Result<(), RegisterError> {
    let mut memory = vec![0; 4096];
    let outcome = set.register(
        &key(),
        &mut Scratch::new(&mut memory),
        label,
        Class::Static,
        value,
        1_795_000_000,
    );
    assert!(memory.iter().all(|byte| *byte == 0));
    outcome
}

fn set_of(values: &[(&str, &[u8])]) -> KnownSet {
    let mut set = KnownSet::new(key().id());
    for (label, value) in values {
        register(&mut set, label, value).unwrap();
    }
    set
}

fn found(set: &KnownSet, text: &[u8]) -> Vec<(usize, String, Form)> {
    let search = Search::new(&key(), set.digests()).unwrap();
    let mut found = Vec::new();
    search.each(text, |place| {
        let digest = search.digest(place.number).unwrap();
        found.push((place.at, digest.label.clone(), digest.form));
    });
    found
}

#[test]
fn a_value_is_found_alone_and_inside_others() {
    let set = set_of(&[("one", b"hunter2hunter3"), ("two", b"8 bytes!")]);
    let one = |at| vec![(at, "one".to_owned(), Form::Whole)];
    assert_eq!(found(&set, b"hunter2hunter3"), one(0));
    assert_eq!(found(&set, b"x=hunter2hunter3;"), one(2));
    assert_eq!(found(&set, b"hunter2hunter"), []);
    assert_eq!(found(&set, b"8 bytes! 8 bytes!").len(), 2);
    assert_eq!(found(&set, b"8 bytes"), []);
}

#[test]
fn lines_and_escaped_forms_are_found_too() {
    let set = set_of(&[
        (
            "pem",
            b"-----BEGIN X-----\nfirst line of it\nsecond line of it\n",
        ),
        ("q", b"pass'word\"/x"),
    ]);
    let forms = |text: &str| {
        found(&set, text.as_bytes())
            .into_iter()
            .map(|(_, _, form)| form)
            .collect::<Vec<_>>()
    };
    assert_eq!(forms("only the first line of it here"), [Form::Line]);
    assert_eq!(
        forms(r#"{"k":"-----BEGIN X-----\nfirst line of it\nsecond line of it"}"#),
        [Form::Json, Form::Line, Form::Line]
    );
    assert_eq!(forms(r"'pass'\''word"), Vec::<Form>::new());
    assert_eq!(forms(r#"'pass'\''word"/x'"#), [Form::Quoted]);
    assert_eq!(forms(r#"pass\'word\"/x"#), [Form::Backslashed]);
    assert_eq!(forms("pass%27word%22%2Fx"), [Form::Percent]);
    assert_eq!(forms("-----BEGIN X-----"), Vec::<Form>::new());
}

#[test]
fn what_would_be_found_everywhere_is_refused() {
    let mut set = KnownSet::new(key().id());
    assert_eq!(
        register(&mut set, "a", b"1234567"),
        Err(RegisterError::Short)
    );
    assert_eq!(
        register(&mut set, "a", b"1234567\n"),
        Err(RegisterError::Short)
    );
    assert_eq!(
        register(&mut set, "a", b"        "),
        Err(RegisterError::Monotonous)
    );
    assert_eq!(
        register(&mut set, "a b", b"12345678"),
        Err(RegisterError::Label)
    );
    assert_eq!(
        register(&mut set, "", b"12345678"),
        Err(RegisterError::Label)
    );
    assert_eq!(
        register(&mut set, "a", &vec![b'x'; LONGEST + 1]),
        Err(RegisterError::Long)
    );
    assert_eq!(
        register(&mut set, "a", &[b'x', b'y'].repeat(2000)),
        Err(RegisterError::Scratch)
    );
    assert!(set.is_empty());
    register(&mut set, "a", b"12345678").unwrap();
    assert_eq!(
        register(&mut set, "a", b"12345678"),
        Err(RegisterError::Taken)
    );
    let mut other = KnownSet::new(FingerprintKey::new([4; 32]).id());
    assert!(matches!(
        register(&mut other, "a", b"12345678"),
        Err(RegisterError::OtherKey { .. })
    ));
}

#[test]
fn a_set_is_read_back_as_it_was_written() {
    let mut set = set_of(&[
        ("a", b"some value / of it"),
        ("b.c/d-e_f", b"line one is here\nline two is here"),
    ]);
    let text = set.to_string();
    assert_eq!(KnownSet::parse(&text).as_ref(), Ok(&set));
    assert_eq!(
        set.values()
            .iter()
            .map(|value| value.forms)
            .collect::<Vec<_>>(),
        [3, 6]
    );
    assert!(set.remove("a"));
    assert!(!set.remove("a"));
    assert_eq!(set.values().len(), 1);
}

#[test]
fn a_broken_line_is_named_with_its_mistake() {
    let text = set_of(&[("a", b"a value of it")]).to_string();
    let line = text.lines().nth(2).unwrap().to_owned();
    let mistake = |from: &str, to: &str| {
        let error = KnownSet::parse(&text.replacen(from, to, 1)).unwrap_err();
        (error.line, error.mistake)
    };
    assert_eq!(mistake("# cordon known", "# cordon"), (1, Mistake::Head));
    assert_eq!(mistake("# key ", "# key x"), (2, Mistake::Key));
    for (from, to, expected) in [
        ("1 a static", "0 a static", Mistake::Id),
        ("1 a static", "+1 a static", Mistake::Id),
        ("1 a static", "1 a! static", Mistake::Label),
        ("1 a static", "1 a statically", Mistake::Class),
        ("1 a static", "1 a b static", Mistake::Fields),
        (" whole ", " hole ", Mistake::Form),
        (" whole 13 ", " whole 7 ", Mistake::Length),
        (" whole 13 ", " whole 13  ", Mistake::Fields),
        (" 1795000000", "", Mistake::Fields),
        (" 1795000000", " 1795000000 ", Mistake::Fields),
        (" 1795000000", " soon", Mistake::Registered),
        (" 1795000000", "0 1795000000", Mistake::Digest),
    ] {
        assert_eq!(mistake(from, to), (3, expected), "{line} {to}");
    }
    let twice = format!("{text}{}\n", line.replacen("1 a static", "1 a unknown", 1));
    assert_eq!(
        KnownSet::parse(&twice).unwrap_err(),
        FileError {
            line: text.lines().count() + 1,
            mistake: Mistake::Differs
        }
    );
}

proptest! {
    #[test]
    fn the_file_holds_no_part_of_a_value(value in "[ -~]{16,64}") {
        prop_assume!(value.as_bytes().windows(2).any(|pair| pair[0] != pair[1]));
        let text = set_of(&[("l", value.as_bytes())]).to_string();
        for part in value.as_bytes().windows(8) {
            prop_assert!(memchr::memmem::find(text.as_bytes(), part).is_none());
        }
    }

    #[test]
    fn every_value_is_found_in_any_text(
        values in proptest::collection::vec(proptest::collection::vec(1_u8..=255, 8..40), 1..8),
        before in proptest::collection::vec(any::<u8>(), 0..40), after in proptest::collection::vec(any::<u8>(), 0..40),
        pick in any::<prop::sample::Index>(),
    ) {
        let mut set = KnownSet::new(key().id());
        let mut registered = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let whole = !value.ends_with(b"\n") && !value.ends_with(b"\r");
            if whole && register(&mut set, &at.to_string(), value).is_ok() {
                registered.push((at, value));
            }
        }
        prop_assume!(!registered.is_empty());
        let (at, value) = registered[pick.index(registered.len())];
        let text = [before.as_slice(), value, after.as_slice()].concat();
        let found = found(&set, &text);
        prop_assert!(found.contains(&(before.len(), at.to_string(), Form::Whole)));
    }

    #[test]
    fn any_text_is_read_without_panic(text in "(# cordon known values 1\n# key 0123456789abcdef\n)?[ -~\n]{0,80}") {
        if let Ok(set) = KnownSet::parse(&text) {
            prop_assert_eq!(KnownSet::parse(&set.to_string()), Ok(set));
        }
    }
}
