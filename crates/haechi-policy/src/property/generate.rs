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
            "action == Action::\"update\"",
            "action in [Action::\"update\", Action::\"create\"]",
            "action in [Action::\"create\", Action::\"update\"]",
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
    match random.below(27) {
        22..=24 => member(random),
        25 | 26 => written(random).to_owned(),
        14 | 15 => sets(random, depth),
        16 => sets(random, depth),
        17 => choice(random, depth),
        18 => choice(random, depth),
        19 => edges(random),
        20 => has_chain(random),
        21 => format!("{} {} {}", entity(random), random.pick(&["==", "in", "!="]), chosen_entity(random, depth)),
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
                "resource.watchers.contains(principal)",
                "resource.owatchers.contains(principal)",
                "resource.owatchers.contains(resource.keeper)",
                "resource.parent.watchers.contains(principal)",
                "principal.friends.contains(resource.keeper)",
                "principal in resource.watchers",
                "principal in resource.parent.owatchers",
                "resource.keeper in resource.owatchers",
                "resource.reviewer in principal.friends",
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
    random.pick(&["0", "1", "2", "5", "-1", "9223372036854775807", "9223372036854775806", "-9223372036854775807", "-9223372036854775808"])
}

/// Set operators, with literals of values of rows, of the caller and of what they refer to, on either side.
fn sets(random: &mut Random, depth: u64) -> String {
    let kind = random.below(4);
    let operator = random.pick(&["containsAny", "containsAll", "containsAny", "containsAll", "contains", "isEmpty", "=="]);
    let left = set(random, kind, depth);
    match operator {
        "isEmpty" => format!("{left}.isEmpty()"),
        "contains" => format!("{left}.contains({})", element(random, kind, depth)),
        "==" => format!("({left} == {})", set(random, kind, depth)),
        operator => format!("{left}.{operator}({})", set(random, kind, depth)),
    }
}

fn set(random: &mut Random, kind: u64, depth: u64) -> String {
    let stored: &[&str] = match kind {
        0 => &["resource.tags", "resource.otags", "principal.marks", "resource.keeper.marks", "principal.boss.marks", "resource.parent.otags"],
        1 => &["resource.nums", "resource.parent.nums"],
        2 => &["resource.flags"],
        _ => &[
            "resource.watchers",
            "resource.owatchers",
            "principal.friends",
            "resource.keeper.friends",
            "resource.parent.watchers",
            "resource.parent.owatchers",
        ],
    };
    if !stored.is_empty() && random.below(2) == 0 {
        return random.pick(stored).to_owned();
    }
    if depth > 0 && random.below(8) == 0 {
        return format!("(if {} then {} else {})", boolean(random, 0), set(random, kind, 0), set(random, kind, 0));
    }
    let count = if random.below(20) == 0 { 0 } else { 1 + random.below(3) };
    let items: Vec<String> = (0..count).map(|_| element(random, kind, depth)).collect();
    format!("[{}]", items.join(", "))
}

fn element(random: &mut Random, kind: u64, depth: u64) -> String {
    if depth > 0 && random.below(8) == 0 {
        return format!("(if {} then {} else {})", boolean(random, 0), element(random, kind, 0), element(random, kind, 0));
    }
    match kind {
        0 => text(random).to_owned(),
        1 if random.below(2) == 0 => integer_constant(random).to_owned(),
        1 => integer(random, 0),
        2 => random.pick(&["true", "false", "resource.flag", "resource.oflag", "(resource.n > 1)", "principal.disabled"]).to_owned(),
        _ => entity(random),
    }
}

/// An `if` that chooses a value, which is then used.
fn choice(random: &mut Random, depth: u64) -> String {
    let next = depth.saturating_sub(1);
    let condition = boolean(random, next);
    match random.below(7) {
        0 => format!("{} == {}", chosen_entity(random, depth), chosen_entity(random, depth)),
        1 => format!("{} in {}", chosen_entity(random, depth), parent(random)),
        2 => format!("(if {condition} then {} else {}) == {}", text(random), text(random), text(random)),
        3 => format!(
            "(if {condition} then resource.price else {}).{}({})",
            decimal(random),
            random.pick(&["lessThan", "greaterThanOrEqual"]),
            decimal(random)
        ),
        4 => format!(
            "(if {condition} then resource.at else {}) {} {}",
            moment_literal(random),
            random.pick(&["<", ">=", "=="]),
            moment_literal(random)
        ),
        5 => format!("{}.level {} {}", chosen_entity(random, depth), random.pick(&["<", ">=", "=="]), integer_constant(random)),
        _ => format!("{} {}", chosen_entity(random, depth), random.pick(&["has level", "is users", "has boss.nick"])),
    }
}

fn chosen_entity(random: &mut Random, depth: u64) -> String {
    format!("(if {} then {} else {})", boolean(random, depth.saturating_sub(1)), person(random), person(random))
}

fn person(random: &mut Random) -> &'static str {
    random.pick(&["resource.keeper", "resource.reviewer", "principal", "principal.boss", "resource.keeper.boss"])
}

/// Optional fields behind their guards, in chains.
fn has_chain(random: &mut Random) -> String {
    let mut guarded = || {
        random
            .pick(&[
                "resource has on && resource.on > 1",
                "resource has os && resource.os == \"a\"",
                "resource has reviewer && resource.reviewer == principal",
                "resource has parent && resource.parent.n > 0",
                "resource has parent.on && resource.parent.on > 0",
                "principal has level && principal.level > 1",
                "resource has otags && resource.otags.contains(\"a\")",
                "resource has oflag && resource.oflag",
                "resource has owatchers && resource.owatchers.contains(principal)",
                "(resource has on || resource.flag) && resource.on > 1",
                "(resource.flag || resource has os) && resource.os == \"a\"",
            ])
            .to_owned()
    };
    let parts: Vec<String> = (0..3).map(|_| format!("({})", guarded())).collect();
    parts.join(random.pick(&[" || ", " && "]))
}

/// Values at and beside the ends of their ranges.
fn edges(random: &mut Random) -> String {
    match random.below(5) {
        0 => format!(
            "resource.n {} {} {} 0",
            random.pick(&["+", "-"]),
            random.pick(&["-9223372036854775808", "9223372036854775807", "-9223372036854775807", "1", "-1"]),
            random.pick(&[">=", "<", "==", "<="])
        ),
        1 => format!(
            "{}.{}({})",
            random.pick(&["resource.price", "resource.rate"]),
            random.pick(&["lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"]),
            decimal(random)
        ),
        2 => format!("{} == {}", random.pick(&["resource.price", "resource.rate"]), decimal(random)),
        3 => format!("resource.at {} {}", random.pick(&["<", "<=", "==", ">", "!="]), moment_literal(random)),
        _ => format!("resource.at.offset(duration(\"{}\")) {} {}", duration(random), random.pick(&["<", ">="]), moment_literal(random)),
    }
}

fn decimal(random: &mut Random) -> String {
    let text = random.pick(&[
        "1.0",
        "1.005",
        "0.0",
        "-0.01",
        "-922337203685477.5808",
        "922337203685477.5807",
        "922337203685477.58",
        "-922337203685477.5807",
        "99999999999999.9999",
        "-99999999999999.9999",
        "99999999.99",
    ]);
    format!("decimal(\"{text}\")")
}

fn moment_literal(random: &mut Random) -> String {
    let text = random.pick(&[
        "0001-01-01",
        "0001-01-01T00:00:00.001Z",
        "9999-12-31",
        "9999-12-31T23:59:59.999Z",
        "9999-12-31T23:59:59.998Z",
        "2024-01-01",
        "1969-12-31T23:59:59.999Z",
    ]);
    format!("datetime(\"{text}\")")
}

fn duration(random: &mut Random) -> &'static str {
    random.pick(&[
        "9223372036854775807ms",
        "-9223372036854775808ms",
        "-9223372036854775807ms",
        "106751991167d",
        "-106751991167d",
        "1ms",
        "-1ms",
        "0ms",
    ])
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

/// Names of fields that may be written; each case picks one of them.
pub(super) const WRITTEN: &[&[&str]] = &[&[], &["n"], &["s"], &["n", "s"], &["flag", "os", "tags"]];

/// Conditions on what is written.
fn written(random: &mut Random) -> &'static str {
    random.pick(&[
        "[\"n\", \"s\"].containsAll(context.fields)",
        "context.fields.containsAny([\"s\", \"os\"])",
        "context.fields.contains(\"n\")",
        "context.fields.contains(resource.s)",
        "context.fields.isEmpty()",
        "context.fields == [\"s\", \"n\"]",
        "resource.tags.containsAny(context.fields)",
        "[resource.s, \"n\"].containsAll(context.fields)",
        "(context.fields.contains(\"n\") == resource.flag)",
    ])
}

/// Somebody in a group of a row, of what it refers to, or of a person.
fn member(random: &mut Random) -> String {
    let who =
        random.pick(&["principal", "principal", "principal", "resource.keeper", "resource.reviewer", "resource.parent.keeper", "principal.boss"]);
    let group = random.pick(&[
        "resource.fans",
        "resource.chiefs",
        "resource.kin",
        "resource.kin",
        "resource.parent.fans",
        "resource.parent.kin",
        "resource.keeper.mates",
        "principal.mates",
        "principal.boss.mates",
        "resource.keeper.boss.mates",
    ]);
    if random.below(8) == 0 {
        return format!("{who} in (if resource.flag then {group} else {group})");
    }
    format!("{who} in {group}")
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
