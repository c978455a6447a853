//! Policies by their types: well typed, often erroring, weighted to what is easy to get wrong.

use std::fmt::Write;

/// A small random generator (xorshift), so that a seed names a case for ever.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        for _ in 0..3 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
        }
        (self.0 >> 11) % bound
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len() as u64) as usize]
    }
}

pub(super) const USERS: &[&str] = &[
    "01920000-0000-7000-8000-0000000000a0",
    "01920000-0000-7000-8000-0000000000a1",
    "01920000-0000-7000-8000-0000000000a2",
    "01920000-0000-7000-8000-0000000000a3",
];
pub(super) const THING: &str = "01920000-0000-7000-8000-0000000000b1";

/// One to four policies on reading things.
pub(super) fn policies(random: &mut Random) -> String {
    let mut out = String::new();
    for at in 0..=random.below(4) {
        let effect = if at > 0 && random.below(3) == 0 { "forbid" } else { "permit" };
        let principal = match random.below(8) {
            0 => "principal in Role::\"red\"".to_owned(),
            1 => "principal is users".to_owned(),
            2 => "principal is users in Role::\"blue\"".to_owned(),
            3 => format!("principal == users::\"{}\"", random.pick(USERS)),
            _ => "principal".to_owned(),
        };
        let resource = match random.below(6) {
            0 => format!("resource == things::\"{THING}\""),
            1 => "resource".to_owned(),
            _ => "resource is things".to_owned(),
        };
        let action = random.pick(&[
            "action == Action::\"read\"",
            "action in [Action::\"read\", Action::\"list\"]",
            "action in [Action::\"list\", Action::\"read\"]",
        ]);
        let _ = write!(out, "{effect} ({principal}, {action}, {resource})");
        for _ in 0..random.below(3) {
            let word = if random.below(4) == 0 { "unless" } else { "when" };
            let _ = write!(out, " {word} {{ {} }}", boolean(random, 3));
        }
        out.push_str(";\n");
    }
    out
}

fn boolean(random: &mut Random, depth: u64) -> String {
    if depth > 0 && random.below(2) == 0 {
        let next = depth - 1;
        return match random.below(7) {
            0 | 1 => format!("({} && {})", boolean(random, next), boolean(random, next)),
            2 | 3 => format!("({} || {})", boolean(random, next), boolean(random, next)),
            4 => format!("!({})", boolean(random, next)),
            5 => format!("(if {} then {} else {})", boolean(random, next), boolean(random, next), boolean(random, next)),
            _ => format!("(({}) == ({}))", boolean(random, next), boolean(random, next)),
        };
    }
    match random.below(14) {
        0 => random.pick(&["resource.flag", "resource.oflag", "true", "false", "principal.disabled"]).to_owned(),
        1 => format!("{} {} {}", integer(random, depth), random.pick(&["<", "<=", ">", ">=", "==", "!="]), integer_constant(random)),
        2 => format!("{} {} {}", integer(random, depth), random.pick(&["<", "==", "!=", ">="]), integer(random, 0)),
        3 => format!("{} == {}", text(random), text(random)),
        4 => format!("{} like \"{}\"", text(random), random.pick(&["*", "a*", "*b", "a*b*", "a\\*b", "100%", "a_b", "*%*", "[a]", "*?*", "", "é*"])),
        5 => has(random),
        6 | 7 => format!("{} == {}", entity(random), entity(random)),
        8 => format!("{} in {}", entity(random), parent(random)),
        9 => format!("{}.contains({})", random.pick(&["[1, 2, 9223372036854775807]", "[0, 5]"]), integer(random, 0)),
        10 => format!(
            "{}.contains({})",
            random.pick(&["resource.tags", "resource.otags", "[\"a\", \"b\"]", "principal.roles", "[resource.s, \"a\"]"]),
            text(random)
        ),
        11 => format!("{}.{}([\"a\", \"c\"])", random.pick(&["resource.tags", "resource.otags"]), random.pick(&["containsAny", "containsAll"])),
        12 => random
            .pick(&[
                "resource.tags.isEmpty()",
                "resource.otags.isEmpty()",
                "resource.keeper is users",
                "principal is users",
                "resource.parent is things",
                "[principal].contains(resource.keeper)",
                "[resource.keeper, resource.reviewer].contains(principal)",
            ])
            .to_owned(),
        _ => moment(random),
    }
}

fn integer(random: &mut Random, depth: u64) -> String {
    match random.below(if depth > 0 { 9 } else { 6 }) {
        0 | 1 => "resource.n".to_owned(),
        2 => "resource.on".to_owned(),
        3 => "resource.parent.n".to_owned(),
        4 => "resource.keeper.level".to_owned(),
        5 => "principal.level".to_owned(),
        6 => format!("({} + {})", integer(random, 0), integer_constant(random)),
        7 => format!("({} - {})", integer(random, 0), integer_constant(random)),
        _ => format!("(if {} then {} else {})", boolean(random, 1), integer(random, 0), integer_constant(random)),
    }
}

fn integer_constant(random: &mut Random) -> &'static str {
    random.pick(&["0", "1", "2", "5", "-1", "9223372036854775807", "-9223372036854775807"])
}

fn text(random: &mut Random) -> &'static str {
    random.pick(&[
        "resource.s",
        "resource.os",
        "resource.keeper.nick",
        "principal.nick",
        "\"a\"",
        "\"a*b\"",
        "\"\"",
        "resource.parent.s",
        "resource.parent.keeper.nick",
    ])
}

fn entity(random: &mut Random) -> String {
    match random.below(8) {
        0 | 1 => "principal".to_owned(),
        2 | 3 => "resource.keeper".to_owned(),
        4 => "resource.reviewer".to_owned(),
        5 => "resource.parent.keeper".to_owned(),
        6 => "resource.keeper.boss".to_owned(),
        _ => format!("users::\"{}\"", random.pick(USERS)),
    }
}

fn parent(random: &mut Random) -> String {
    match random.below(6) {
        0 | 1 => "Role::\"red\"".to_owned(),
        2 => "Role::\"blue\"".to_owned(),
        3 => "[Role::\"red\", Role::\"blue\"]".to_owned(),
        4 => entity(random),
        _ => format!("[{}, users::\"{}\"]", entity(random), random.pick(USERS)),
    }
}

fn has(random: &mut Random) -> String {
    random
        .pick(&[
            "resource has on",
            "resource has oflag",
            "resource has n",
            "resource has parent",
            "resource has nothing",
            "(resource has parent && resource.parent has on)",
            "resource.keeper has nick",
            "resource.parent has n",
            "resource has parent.keeper",
            "principal has nick",
            "(resource has on && resource.on > 1)",
            "(principal has level && principal.level > 1)",
            "context has now",
        ])
        .to_owned()
}

fn moment(random: &mut Random) -> String {
    match random.below(5) {
        0 => format!(
            "resource.at {} datetime(\"{}\")",
            random.pick(&["<", "<=", "==", ">"]),
            random.pick(&["2024-01-01", "1970-01-01T00:00:00.001Z", "9999-12-31"])
        ),
        1 => format!("resource.at.offset(duration(\"{}\")) < context.now", random.pick(&["1d", "-1h", "1ms"])),
        2 => format!(
            "resource.price.{}(decimal(\"{}\"))",
            random.pick(&["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"]),
            random.pick(&["1.0", "1.005", "-0.01", "1.2345", "0.0"])
        ),
        3 => format!("resource.price == decimal(\"{}\")", random.pick(&["1.0", "1.005", "1.25"])),
        _ => "context.now.toDate() > resource.at".to_owned(),
    }
}
