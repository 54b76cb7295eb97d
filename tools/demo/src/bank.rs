// SPDX-License-Identifier: GPL-2.0

//! The database: accounts, and transfers between them. Money is moved, never made, and each
//! account's balance follows from its transfers; so a database torn at any place gives itself away.

#![forbid(unsafe_code)]

use anyhow::ensure;
use anyhow::Context;
use anyhow::Result;

use crate::tell::run;
use crate::tell::show;

/// The database on the live filesystem.
pub const PATH: &str = "/live/bank.db";
/// Accounts that there are.
pub const ACCOUNTS: u64 = 100;
/// What each has at first.
const EACH: u64 = 10_000;

const SCHEMA: &str = "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);\n\
     CREATE TABLE transfer(id INTEGER PRIMARY KEY, \
     payer INTEGER, payee INTEGER, amount INTEGER, note TEXT);\n";

/// Makes the database.
pub fn create() -> Result<()> {
    let fill =
        format!("INSERT INTO account SELECT value, {EACH} FROM generate_series(1, {ACCOUNTS});");
    run(&format!(
        "echo 'PRAGMA journal_mode=WAL;\n{SCHEMA}{fill}' | sqlite3 -bail {PATH}"
    ))?;
    show(&format!(
        "sqlite3 {PATH} 'SELECT count(*) AS accounts, sum(balance) AS money FROM account' -header"
    ))
    .map(drop)
}

/// One transaction.
pub fn transfer(payer: u64, payee: u64, amount: u64) -> String {
    format!(
        "BEGIN IMMEDIATE;\
         UPDATE account SET balance = balance - {amount} WHERE id = {payer};\
         UPDATE account SET balance = balance + {amount} WHERE id = {payee};\
         INSERT INTO transfer(payer, payee, amount, note) \
         VALUES({payer}, {payee}, {amount}, hex(randomblob(40)));\
         COMMIT;\n"
    )
}

/// How many transfers are committed in a database.
pub fn transfers(path: &str) -> Result<u64> {
    let text = run(&format!(
        "sqlite3 -bail -cmd '.timeout 20000' {path} 'SELECT count(*) FROM transfer'"
    ))?;
    text.trim().parse().context("count(*)")
}

/// Checks a database: its structure, its money, each balance.
pub fn check(path: &str) -> Result<()> {
    let query = |sql: &str| -> Result<String> {
        Ok(run(&format!("sqlite3 -bail {path} '{sql}'"))?
            .trim()
            .to_string())
    };
    let integrity = query("PRAGMA integrity_check")?;
    ensure!(integrity == "ok", "{path}: integrity_check: {integrity}");
    let money = query("SELECT sum(balance) FROM account")?;
    let expected = (ACCOUNTS * EACH).to_string();
    ensure!(
        money == expected,
        "{path}: there is money for {money}, it should be {expected}"
    );
    let wrong = query(&format!(
        "WITH move(id, amount) AS \
         (SELECT payer, -amount FROM transfer UNION ALL SELECT payee, amount FROM transfer), \
         net(id, amount) AS (SELECT id, sum(amount) FROM move GROUP BY id) \
         SELECT count(*) FROM account LEFT JOIN net USING(id) \
         WHERE balance <> {EACH} + coalesce(amount, 0)"
    ))?;
    ensure!(
        wrong == "0",
        "{path}: {wrong} balances do not follow from the transfers"
    );
    Ok(())
}
