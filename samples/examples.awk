# SPDX-License-Identifier: GPL-2.0 Makes a file of Rust of the examples in the documentation of some
# files: each block between ``` and ``` becomes a function, and run_all() runs them in their order.
# As for rustdoc, a line that begins with "# " belongs to the example but is not shown, and a block
# whose ``` has a word behind it (```text) is none.

function name(file) {
    sub(/.*\//, "", file)
    sub(/\.rs$/, "", file)
    return file
}

function finish() {
    print "    Ok(())\n}\n"
    inside = 0
}

# An example that is not ended goes on into the next file: say so there.
FNR == 1 && (inside || skipped) {
    print "compile_error!(\"an example before " FILENAME " has no end\");"
    inside = skipped = 0
}

!/^ *\/\/[\/!]/ {
    next
}

{
    line = $0
    sub(/^ *\/\/[\/!] ?/, "", line)
}

line ~ /^```/ && inside {
    finish()
    next
}

line ~ /^```/ && skipped {
    skipped = 0
    next
}

line ~ /^```./ {
    skipped = 1
    next
}

line == "```" {
    function_name = name(FILENAME) "_" FNR
    names[++count] = function_name
    print "// " FILENAME ":" FNR
    print "fn " function_name "() -> Result {"
    inside = 1
    next
}

inside {
    sub(/^# /, "", line)
    print "    " line
}

END {
    print "/// Runs all examples, up to the first that fails."
    print "pub(crate) fn run_all() -> Result {"
    for (i = 1; i <= count; i++)
        print "    run(\"" names[i] "\", " names[i] ")?;"
    print "    Ok(())\n}"
}
