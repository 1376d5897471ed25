//! Patterns for the names of variables and for programs: `*` and `?`, and `**` between slashes.

use std::fmt;

/// Longest pattern, in bytes: the longest path Linux takes.
const LONGEST: usize = 4096;

/// A pattern that cannot be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// A control character, or `=` in the name of a variable.
    #[error("a pattern cannot hold {0:?}")]
    Character(char),
    /// Nothing.
    #[error("a pattern cannot be empty")]
    Empty,
    /// Wildcards alone.
    #[error("this pattern matches everything")]
    Everything,
    /// Longer than any path.
    #[error("a pattern has at most {LONGEST} bytes")]
    Long,
    /// A path no executable has: `//`, `/./`, `/../` or a slash at its end.
    #[error("no program has such a path")]
    NoPath,
    /// A path that begins with neither `/` nor `**/`.
    #[error("the path of a program must be absolute")]
    Relative,
    /// `**` beside something else than slashes.
    #[error("`**` must be alone between the slashes of a path")]
    Stars,
}

/// A pattern for the names of variables: `*` is any characters, `?` is one.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VariablePattern(String);

impl VariablePattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none, or matches every name.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check(text)?;
        if text.contains('=') {
            return Err(PatternError::Character('='));
        }
        if text.contains("**") {
            return Err(PatternError::Stars);
        }
        if is_wild(text) {
            return Err(PatternError::Everything);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether a variable of this name is meant. Case counts.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        matches_part(&self.0, name)
    }

    /// The pattern, as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A pattern for programs. With a slash it is about the whole path of the executable, in which `*` and
/// `?` stop at slashes and `**` stands for any number of directories; without, about its last part.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ProgramPattern(String);

impl ProgramPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none, or matches every program.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        check(text)?;
        if text.contains('/') {
            check_path(text)?;
        } else if text.contains("**") {
            return Err(PatternError::Stars);
        }
        if text.split('/').all(is_wild) {
            return Err(PatternError::Everything);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether the program with this executable is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        if !self.0.contains('/') {
            let name = path.rsplit('/').next().unwrap_or(path);
            return matches_part(&self.0, name);
        }
        let pattern: Vec<&str> = self.0.split('/').collect();
        let path: Vec<&str> = path.split('/').collect();
        matches(
            &pattern,
            &path,
            |part| *part == "**",
            |part, text| matches_part(part, text),
        )
    }

    /// The pattern, as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VariablePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ProgramPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.len() > LONGEST {
        return Err(PatternError::Long);
    }
    match text.chars().find(|character| character.is_control()) {
        Some(character) => Err(PatternError::Character(character)),
        None => Ok(()),
    }
}

fn check_path(text: &str) -> Result<(), PatternError> {
    let Some(rest) = text.strip_prefix('/') else {
        // `**/x` is what is written most often for a program in any directory.
        return match text.strip_prefix("**/") {
            Some(rest) => check_parts(rest),
            None => Err(PatternError::Relative),
        };
    };
    check_parts(rest)
}

fn check_parts(text: &str) -> Result<(), PatternError> {
    for part in text.split('/') {
        if matches!(part, "" | "." | "..") {
            return Err(PatternError::NoPath);
        }
        if part.contains("**") && part != "**" {
            return Err(PatternError::Stars);
        }
    }
    Ok(())
}

/// Whether no character of it is given.
fn is_wild(part: &str) -> bool {
    part.chars().all(|character| matches!(character, '*' | '?'))
}

/// One part of a path, or a name.
fn matches_part(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    matches(
        &pattern,
        &text,
        |wild| *wild == '*',
        |wanted, found| *wanted == '?' || wanted == found,
    )
}

/// Matches with stars that stand for any number of items. Goes back to the last star only, which is
/// enough: what an earlier one could take, the last one can take as well. So the cost is that of the
/// lengths multiplied, whatever the pattern.
fn matches<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut wanted, mut found) = (pattern, text);
    let mut star: Option<(&[P], &[T])> = None;
    loop {
        match (wanted.split_first(), found.split_first()) {
            (None, None) => return true,
            (Some((first, after)), _) if is_star(first) => {
                star = Some((after, found));
                wanted = after;
            }
            (Some((first, after)), Some((item, rest))) if fits(first, item) => {
                wanted = after;
                found = rest;
            }
            _ => {
                let Some((after, from)) = star else {
                    return false;
                };
                let Some((_taken, rest)) = from.split_first() else {
                    return false;
                };
                star = Some((after, rest));
                wanted = after;
                found = rest;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn program(pattern: &str, path: &str) -> bool {
        ProgramPattern::parse(pattern).unwrap().matches(path)
    }

    #[test]
    fn a_name_is_about_the_last_part_and_a_path_about_all() {
        assert!(program("git", "/usr/bin/git") && program("git", "git"));
        assert!(!program("git", "/usr/bin/git-lfs") && !program("git", "/git/x"));
        assert!(program("git*", "/usr/bin/git-lfs") && program("git-?fs", "/x/git-lfs"));
        assert!(program("/usr/bin/git", "/usr/bin/git"));
        assert!(!program("/usr/bin/git", "/home/x/usr/bin/git"));
        assert!(!program("/usr/bin/git", "git"));
    }

    #[test]
    fn one_star_stays_in_its_directory_and_two_do_not() {
        assert!(program("/opt/*/node", "/opt/20/node"));
        assert!(!program("/opt/*/node", "/opt/20/bin/node"));
        assert!(!program("/opt/*/node", "/opt/node"));
        for path in ["/opt/node", "/opt/20/node", "/opt/20/bin/node"] {
            assert!(program("/opt/**/node", path), "{path}");
        }
        assert!(!program("/opt/**/node", "/opt/20/node/x"));
        assert!(program("**/node", "/node") && program("**/node", "/a/b/node"));
        assert!(program("/home/**", "/home/a/b") && !program("/home/**", "/homes/a"));
        assert!(program("/**/a/*/b", "/a/x/a/y/b") && !program("/**/a/*/b", "/a/x/y/b"));
    }

    #[test]
    fn variables_are_matched_whole_and_by_case() {
        let matches =
            |pattern: &str, name: &str| VariablePattern::parse(pattern).unwrap().matches(name);
        assert!(matches("GITHUB_TOKEN", "GITHUB_TOKEN"));
        assert!(!matches("GITHUB_TOKEN", "github_token"));
        assert!(!matches("GITHUB_TOKEN", "MY_GITHUB_TOKEN"));
        assert!(matches("*_TOKEN", "A/B_TOKEN") && matches("AZURE_*_?", "AZURE_x_1"));
    }

    #[test]
    fn what_could_match_everything_or_nothing_is_refused() {
        for (text, error) in [
            ("", PatternError::Empty),
            ("*", PatternError::Everything),
            ("?*", PatternError::Everything),
            ("**/*", PatternError::Everything),
            ("/**", PatternError::Everything),
            ("**", PatternError::Stars),
            ("no**de", PatternError::Stars),
            ("/opt/**x/node", PatternError::Stars),
            ("bin/git", PatternError::Relative),
            ("/usr//git", PatternError::NoPath),
            ("/usr/../git", PatternError::NoPath),
            ("/usr/bin/", PatternError::NoPath),
            ("a\nb", PatternError::Character('\n')),
        ] {
            assert_eq!(ProgramPattern::parse(text), Err(error), "{text}");
        }
        let long = "a".repeat(LONGEST + 1);
        assert_eq!(ProgramPattern::parse(&long), Err(PatternError::Long));
        for (text, error) in [
            ("*?", PatternError::Everything),
            ("A**B", PatternError::Stars),
            ("A=B", PatternError::Character('=')),
        ] {
            assert_eq!(VariablePattern::parse(text), Err(error), "{text}");
        }
    }

    /// Without going back cleverly.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', after)), None) => naive(after, text),
            (Some(('*', after)), Some((_, rest))) => naive(after, text) || naive(pattern, rest),
            (Some(('?', after)), Some((_, rest))) => naive(after, rest),
            (Some((wanted, after)), Some((found, rest))) => wanted == found && naive(after, rest),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_trying_everything(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(
                matches_part(&pattern, &text),
                naive(&chars(&pattern), &chars(&text))
            );
        }

        #[test]
        fn a_pattern_without_wildcards_matches_itself_alone(
            path in "(/[a-z]{1,3}){1,4}", other in "(/[a-z]{1,3}){1,4}",
        ) {
            prop_assert!(program(&path, &path));
            prop_assert_eq!(program(&path, &other), path == other);
        }
    }

    #[test]
    fn a_hostile_pattern_does_not_take_long() {
        let pattern = VariablePattern::parse(&"*a".repeat(LONGEST / 2)).unwrap();
        assert!(!pattern.matches(&("a".repeat(20_000) + "b")));
    }
}
