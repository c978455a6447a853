//! Generated policies over generated rows: Cedar itself, SQL on both databases and the evaluation in memory must agree.

mod databases;
mod generate;
mod oracle;
mod world;

use crate::{
    Policies, Principal, PrincipalKind, Written,
    mutation::{Mutation, plant},
};
use databases::Databases;
use generate::Random;
use haechi_model::Predicate;
use world::World;

/// Comparisons in CI; `HAECHI_PROPERTY_CASES` for the long run.
const CASES: u64 = 10_000;
/// Comparisons within which each planted fault must be found.
const MUTATION_CASES: u64 = 20_000;

struct Disagreement {
    seed: u64,
    policies: String,
    what: String,
}

/// One case: a policy set and a caller over all rows of the world.
fn case(seed: u64, world: &World, databases: Option<&Databases>) -> Option<Disagreement> {
    let mut random = Random::new(seed);
    let text = generate::policies(&mut random);
    let strict = random.below(3) == 0;
    let app = world.app(&text);
    let Ok((policies, _)) = Policies::build(&app, strict, world.intact) else { return None };
    let user = random.below(world.users.len() as u64 + 1) as usize;
    let nobody = user == world.users.len();
    let (id, row, roles) = if nobody { ("anonymous".to_owned(), Vec::new(), Vec::new()) } else { world.person(user) };
    let kind = if nobody { PrincipalKind::Anonymous } else { PrincipalKind::User };
    let principal = Principal { kind, id: &id, roles: &roles, row: &row };
    let written = generate::WRITTEN[random.below(generate::WRITTEN.len() as u64) as usize];
    let bind = |written| policies.bind_writing(&principal, policies.action("update").unwrap(), world.things_id, world::NOW_MS, written);
    let bound = bind(Written::These(written));
    let (some, every) = (bind(Written::Some), bind(Written::Every));
    let expected = oracle::allowed(&policies, world, &principal, written);
    let memory: Vec<String> = world.asked().filter(|row| bound.holds(row, world)).map(|row| row[0].as_text().unwrap().to_owned()).collect();
    // Before the fields are known, nothing is refused that some fields allow, and nothing is promised that some fields do not.
    for row in world.asked() {
        let (some, these, every) = (some.holds(row, world), bound.holds(row, world), every.holds(row, world));
        if these && !some || every && !these {
            let what = format!("{:?}: some fields {some}, these {these}, every {every}, as {id}", row[0]);
            return Some(Disagreement { seed, policies: text.clone(), what });
        }
    }
    let wrong = |what: String| Some(Disagreement { seed, policies: text.clone(), what });
    if memory != expected {
        return wrong(format!("memory {memory:?}, Cedar {expected:?}, as {id}\n{bound:?}"));
    }
    if let Some(row) = (strict && databases.is_some()).then(|| oracle::second_voice(&policies, world, &principal, written)).flatten() {
        return wrong(format!("partial evaluation disagrees with Cedar on {row}, as {id}"));
    }
    for (name, found) in databases.map(|databases| databases.select(world, &bound, seed.is_multiple_of(2))).into_iter().flatten() {
        if found != expected {
            return wrong(format!("{name} {found:?}, Cedar {expected:?}, as {id}\n{bound:?}"));
        }
    }
    None
}

#[test]
fn policies_agree() {
    let cases = std::env::var("HAECHI_PROPERTY_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(CASES);
    let first = std::env::var("HAECHI_PROPERTY_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    // In one world references may lead nowhere, in the other foreign keys see to them.
    let worlds = [World::new(false), World::new(true)];
    let databases = worlds.each_ref().map(Databases::open);
    for seed in first..first + cases {
        let at = usize::from((seed / 2).is_multiple_of(2));
        if let Some(found) = case(seed, &worlds[at], Some(&databases[at])) {
            panic!("seed {}: {}\n{}", found.seed, found.what, found.policies);
        }
    }
    // A test that compared nothing would pass too.
    assert!(oracle::COMPARED.get() > cases / 2, "only {} of {cases} cases were compared", oracle::COMPARED.get());
    assert!(oracle::HEARD.get() > cases, "partial evaluation was heard on {} rows only", oracle::HEARD.get());
}

/// What is proven of two conditions is so on every row.
#[test]
fn proofs_hold() {
    let world = World::new(true);
    let bound = |seed: u64| {
        let text = generate::policies(&mut Random::new(seed));
        let (policies, _) = Policies::build(&world.app(&text), false, world.intact).ok()?;
        let (id, row, roles) = world.person((seed / 7 % world.users.len() as u64) as usize);
        let principal = Principal { kind: PrincipalKind::User, id: &id, roles: &roles, row: &row };
        Some(policies.bind(&principal, policies.action("update").unwrap(), world.things_id, world::NOW_MS))
    };
    let (mut proven, mut refused) = (0, 0);
    for seed in 1..300 {
        let (Some(one), Some(two)) = (bound(seed), bound(seed + 100_000)) else { continue };
        let (both, either) = (Predicate::all([one.clone(), two.clone()]), Predicate::any([one.clone(), two.clone()]));
        let neither = either.clone().not_true();
        let forms = [one, two, both, either, neither];
        for (from, a) in forms.iter().enumerate() {
            for (to, b) in forms.iter().enumerate() {
                let proof = a.proves(b);
                // What is built from both follows from both, and each implies what is built from it.
                assert!(proof || !matches!((from, to), (0 | 1, 3) | (2, 0 | 1 | 3)), "{a:?}\ndoes not prove\n{b:?}");
                let against = world.things.iter().find(|row| a.holds(row, &world) && !b.holds(row, &world));
                assert!(!proof || against.is_none(), "seed {seed}: {a:?}\nis said to prove\n{b:?}\nand does not on {against:?}");
                if proof { proven += 1 } else { refused += 1 }
            }
        }
    }
    assert!(proven > 1_000 && refused > 1_000, "{proven} proven, {refused} not");
}

/// The deepest chain that loads is also one that both databases take.
#[test]
fn the_longest_chains_run() {
    let world = World::new(false);
    let databases = Databases::open(&world);
    let mut loaded = 0;
    for (word, alternative) in [("||", "resource.parent.n + 1 =="), ("&&", "resource.parent.n + 1 !=")] {
        for count in [100, 300, 396, 410, 1_000, 10_000] {
            let chain = (0..count).map(|n| format!("{alternative} {}", n + 2)).collect::<Vec<_>>().join(&format!(" {word} "));
            let text = format!("permit (principal, action == Action::\"update\", resource is things) when {{ {chain} }};");
            let Some(Ok((policies, _))) = crate::with_a_deep_stack(|| Policies::build(&world.app(&text), false, world.intact)) else { continue };
            loaded += count;
            let (id, row, roles) = world.person(1);
            let principal = Principal { kind: PrincipalKind::User, id: &id, roles: &roles, row: &row };
            let bound = policies.bind(&principal, policies.action("update").unwrap(), world.things_id, world::NOW_MS);
            let expected = oracle::allowed(&policies, &world, &principal, &[]);
            for named in [false, true] {
                for (name, found) in databases.select(&world, &bound, named) {
                    assert_eq!(found, expected, "{count} parts joined by {word} on {name}");
                }
            }
        }
    }
    assert!(loaded >= 2 * (100 + 300), "{loaded}");
}

/// The test itself is tested: each planted fault must be found.
#[test]
fn planted_faults_are_found() {
    let worlds = [World::new(false), World::new(true)];
    for mutation in Mutation::ALL {
        plant(mutation);
        let found = (1..MUTATION_CASES).any(|seed| worlds.iter().any(|world| case(seed, world, None).is_some()));
        plant(Mutation::None);
        assert!(found, "{mutation:?} survived");
    }
}
