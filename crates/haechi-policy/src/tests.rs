use super::*;
use haechi_model::{Comparison, Operand, Value};

struct NoRows;
impl Lookup for NoRows {
    fn row(&self, _: usize, _: &str) -> Option<Vec<Value>> {
        None
    }
}

pub(crate) fn app(files: &[(&str, &str)]) -> App {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let root =
        std::env::temp_dir().join(format!("haechi-policy-{}-{}", std::process::id(), NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed)));
    for (path, text) in files {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let app = App::load(&root, &[]).map_err(|findings| format!("{findings:?}")).unwrap().0;
    std::fs::remove_dir_all(root).unwrap();
    app
}

const PATIENTS: &str = r#"
[fields]
name = { type = "text", required = true, class = "pii" }
rank = { type = "int" }
doctor = { type = "ref", to = "users", required = true }
"#;

fn clinic(policies: &str) -> App {
    app(&[("haechi.toml", "roles = [\"doctor\", \"nurse\"]"), ("collections/patients.toml", PATIENTS), ("policies/main.cedar", policies)])
}

fn codes(policies: &str) -> Vec<(&'static str, Option<(usize, usize)>)> {
    match Policies::load(&clinic(policies)) {
        Ok(_) => Vec::new(),
        Err(findings) => findings.list().iter().map(|finding| (finding.code, finding.line_column())).collect(),
    }
}

#[test]
fn an_owner_policy_becomes_a_condition_on_the_column() {
    let app =
        clinic("permit (principal, action in [Action::\"list\", Action::\"read\"], resource is patients) when { resource.doctor == principal };");
    let (policies, _) = Policies::load(&app).map_err(|f| format!("{f:#?}")).unwrap();
    let kim = Principal { kind: PrincipalKind::User, id: "k", roles: &[], row: &[] };
    let patients = app.collection("patients").unwrap();
    let read = policies.action("read").unwrap();
    let expected = Predicate::Compare(Operand::Column(patients.field("doctor").unwrap()), Comparison::Equal, Operand::Constant(Value::text("k")));
    assert_eq!(policies.bind(&kim, read, patients.id, 0), expected);
    assert_eq!(policies.bind(&kim, policies.action("read_pii").unwrap(), patients.id, 0), Predicate::False);
    let nobody = Principal { kind: PrincipalKind::Anonymous, id: "anonymous", roles: &[], row: &[] };
    assert_eq!(policies.bind(&nobody, read, patients.id, 0), Predicate::False);
}

#[test]
fn a_forbid_that_errors_denies() {
    let app = clinic(
        "permit (principal, action == Action::\"read\", resource is patients);
         forbid (principal, action == Action::\"read\", resource is patients) when { resource has rank && resource.rank + 1 > 5 };",
    );
    let (policies, _) = Policies::load(&app).map_err(|f| format!("{f:#?}")).unwrap();
    let kim = Principal { kind: PrincipalKind::User, id: "k", roles: &[], row: &[] };
    let patients = app.collection("patients").unwrap();
    let bound = policies.bind(&kim, policies.action("read").unwrap(), patients.id, 0);
    let mut row = vec![Value::Null; patients.table.columns.len()];
    let rank = patients.field("rank").unwrap();
    for (value, allowed) in [(Value::Null, true), (Value::Int(1), true), (Value::Int(9), false), (Value::Int(i64::MAX), false)] {
        row[rank] = value.clone();
        assert_eq!(bound.holds(&row, &NoRows), allowed, "{value:?}");
    }
}

#[test]
fn findings_have_their_place() {
    let misspelt = codes("permit (principal, action == Action::\"read\", resource is patients)\nwhen { resource.docter == principal };");
    assert_eq!(misspelt.first().map(|(code, place)| (*code, *place)), Some(("policy-invalid", Some((2, 8)))));
    assert_eq!(codes("permit (principal, action, resource is patients);")[0].0, "bare-action");
    assert_eq!(codes("permit (principal in Role::\"docter\", action == Action::\"read\", resource is patients);")[0].0, "unknown-role");
    assert_eq!(codes("permit (principal, action == Action::\"read\" resource);")[0].0, "policy-syntax");
    assert_eq!(
        codes("permit (principal, action == Action::\"read\", resource is patients) when { resource has rank && resource.rank * 2 > 4 };")[0].0,
        "not-a-condition"
    );
    assert_eq!(codes("permit (principal, action == Action::\"read\", resource is patients) when { resource.rank > 4 };")[0].0, "policy-invalid");
    assert!(codes("@everything(\"operators repair data\")\npermit (principal in Role::\"doctor\", action, resource);").is_empty());
}
