//! From an asked name along its CNAMEs to the records at their end: what of an answer counts. Pure.

use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

/// CNAMEs followed; as many as common resolvers follow.
pub(super) const MAX_LINKS: usize = 16;

/// Records at the end; more are no answer for a job, whatever they say. A message of 64 KiB has room
/// for four times as many.
pub(super) const MAX_RECORDS: usize = 1024;

/// What of an answer belongs to a name.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Chain {
    /// CNAMEs from the name on.
    pub links: Vec<Record>,
    /// Records of the asked type at their end.
    pub finals: Vec<Record>,
    /// The name at their end.
    pub end: Name,
}

/// Why nothing of an answer can be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Astray {
    /// The CNAMEs lead back to a name they went through.
    #[error("its aliases lead in a circle")]
    Circle,
    /// More than [`MAX_LINKS`].
    #[error("it is an alias of an alias more than {MAX_LINKS} times")]
    TooLong,
    /// More than [`MAX_RECORDS`].
    #[error("the answer has more than {MAX_RECORDS} records")]
    TooMany,
}

/// Follows the CNAMEs of `from` through an answer. Records of the names on the way get their
/// spelling: that of the question, then those of the CNAMEs (DNS 0x20). Whatever belongs to another
/// name is left out.
pub(super) fn follow(from: &Name, kind: RecordType, answers: &[Record]) -> Result<Chain, Astray> {
    let mut links: Vec<Record> = Vec::new();
    let mut end = from.clone();
    let of = |record: &Record, owner: &Name, kind| {
        record.dns_class == DNSClass::IN && record.record_type() == kind && record.name == *owner
    };
    loop {
        let found = answers
            .iter()
            .find(|record| of(record, &end, RecordType::CNAME))
            // Who asks for an alias is told it and not what it stands for.
            .filter(|_| kind != RecordType::CNAME);
        let Some((record, RData::CNAME(target))) = found.map(|record| (record, &record.data))
        else {
            break;
        };
        let mut link = record.clone();
        link.name = std::mem::replace(&mut end, target.0.clone());
        links.push(link);
        if links.iter().any(|link| link.name == end) {
            return Err(Astray::Circle);
        }
        if links.len() > MAX_LINKS {
            return Err(Astray::TooLong);
        }
    }
    let at_end = || answers.iter().filter(|record| of(record, &end, kind));
    if at_end().count() > MAX_RECORDS {
        return Err(Astray::TooMany);
    }
    let finals = at_end()
        .map(|record| {
            let mut record = record.clone();
            record.name = end.clone();
            record
        })
        .collect();
    Ok(Chain { links, finals, end })
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn address(owner: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::A(A::new(192, 0, 2, 1)))
    }

    fn alias(owner: &str, target: &str) -> Record {
        Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
    }

    fn run(answers: &[Record]) -> Result<Chain, Astray> {
        follow(&name("a.example."), RecordType::A, answers)
    }

    #[test]
    fn a_chain_is_followed_in_whatever_order_it_comes() {
        let answers = [
            address("c.example."),
            alias("b.example.", "c.example."),
            alias("A.Example.", "b.example."),
            address("evil.example."),
        ];
        let chain = run(&answers).unwrap();
        assert_eq!((chain.links.len(), chain.finals.len()), (2, 1));
        assert_eq!(chain.end, name("c.example."));
        assert_eq!(chain.links[0].name.to_ascii(), "a.example.");
    }

    #[test]
    fn a_chain_that_is_not_ended_says_where_it_stopped() {
        let chain = run(&[alias("a.example.", "b.example.")]).unwrap();
        assert_eq!((chain.finals.len(), chain.end), (0, name("b.example.")));
        let chain = run(&[]).unwrap();
        assert_eq!((chain.links.len(), chain.end), (0, name("a.example.")));
    }

    #[test]
    fn circles_of_any_size_are_noticed() {
        assert_eq!(
            run(&[alias("a.example.", "A.example.")]),
            Err(Astray::Circle)
        );
        for answers in [
            [
                alias("a.example.", "b.example."),
                alias("b.example.", "a.example."),
            ],
            [
                alias("a.example.", "b.example."),
                alias("b.example.", "b.example."),
            ],
        ] {
            assert_eq!(run(&answers), Err(Astray::Circle));
        }
    }

    #[test]
    fn the_seventeenth_link_and_the_1025th_record_are_too_many() {
        let chain_of = |links: usize| -> Vec<Record> {
            let owner = |i: usize| {
                if i == 0 {
                    "a.example.".into()
                } else {
                    format!("n{i}.example.")
                }
            };
            (0..links)
                .map(|i| alias(&owner(i), &owner(i + 1)))
                .collect()
        };
        assert_eq!(run(&chain_of(16)).unwrap().links.len(), 16);
        assert_eq!(run(&chain_of(17)), Err(Astray::TooLong));
        assert_eq!(
            run(&vec![address("a.example."); 1024])
                .unwrap()
                .finals
                .len(),
            1024
        );
        assert_eq!(
            run(&vec![address("a.example."); 1025]),
            Err(Astray::TooMany)
        );
    }
}
