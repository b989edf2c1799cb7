#!/bin/sh
# One night on one controller: checks, pages, a paragraph. cron, systemd, Jenkins and GitLab all call this; docs/nightly.md
# says how. Copy it beside your lab file and change what is yours.
#
#   sh night.sh LAB [OPTION OF PYTEST]...
#
# The exit status is pytest's. reports/summary.txt is for a mail or a chat, reports/junit.xml for a CI.
set -u
lab=${1:?usage: sh night.sh LAB [OPTION OF PYTEST]...}
shift
PATH="$PWD/.venv/bin:$PATH"
# Ctrl-C, and a service that is stopped, end pytest in good order; the page is made all the same.
trap : INT TERM

mkdir -p reports
rm -f reports/summary.txt reports/junit.xml
status=0
pytest --lab "$lab" --progress lines --summary-file reports/summary.txt --junit-xml=reports/junit.xml "$@" || status=$?
# Where nothing ran there is nothing to show; without Node.js the results are there, and can be rendered elsewhere.
if [ "$status" -ne 4 ] && [ "$status" -ne 5 ]; then
    interop report || echo "night: no page was made; the results are in reports/out/latest" >&2
fi
exit "$status"
