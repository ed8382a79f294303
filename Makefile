# The work is done by scripts/; CONTRIBUTING.md explains the targets.
PYTHON ?= python3
RUN = @$(PYTHON) scripts

.PHONY: demo clean-demo watch test soak crash damage standby conditions check-majors accept golden lint bench figures scale clients peer-suite build install uninstall package env
demo: ## show walia on real data, in a private server that keeps running
	$(RUN)/demo.py
clean-demo: ## stop the demo's server and remove all that was downloaded or made beside the checkout
	$(RUN)/demo.py clean
watch: ## a large import and searches in a private server, with walia-top beside
	$(RUN)/watch.py
test: ## run every test; PARTS="libraries cluster majors" and FILTER=name choose
	$(RUN)/run_tests.py $(PARTS) $(if $(FILTER),--filter=$(FILTER))
soak crash damage standby conditions: ## run the long tests of that name
	$(RUN)/run_tests.py cluster --long --filter=$@
check-majors: ## type-check the Postgres majors whose headers are not installed
	$(RUN)/run_tests.py majors
accept: ## take the last output of pg_regress as the expected one
	cp $${CARGO_TARGET_DIR:-target}/pg18/pg_regress/results/*.out pg_regress/expected/
golden: ## write the index files of the version that is about to be released
	$(RUN)/run_tests.py cluster --major 18 --long --filter=write_golden
lint: ## formatting, clippy, documentation
	$(RUN)/lint.py
bench: ## recall and time on real data, beside pgvector; OPTIONS="…" for walia-bench
	$(RUN)/bench.py $(OPTIONS)
figures: ## walia alone as rows grow, with filters and as rows are replaced, drawn into docs/
	$(RUN)/bench.py --figures docs $(or $(OPTIONS),--limit-base 20000 --queries 100 --threads 2)
scale: ## made sets of up to ten million rows, as there is disk; OPTIONS="--sets 1000000x128 …", drawn into docs/
	$(RUN)/scale.py $(OPTIONS)
clients: ## the tests of pgvector's clients and of frameworks; those of pgvector-node from the clone PGVECTOR_NODE=dir
	$(RUN)/clients.py "$(PGVECTOR_NODE)"
peer-suite: ## pgvector's own regression tests from the clone PGVECTOR=dir
	$(RUN)/peer_suite.py "$(PGVECTOR)"
build: ## compile a release for the Postgres of PG_CONFIG=…/pg_config
	$(RUN)/install.py build
install: ## build a release and install it into the Postgres of PG_CONFIG=…/pg_config, below DESTDIR=dir
	$(RUN)/install.py
uninstall: ## remove what was installed there
	$(RUN)/install.py uninstall
package: ## Debian packages for the majors whose headers are installed, tried in a root of their own
	$(RUN)/package.py
env: ## print the variables with which plain cargo works on the extension: eval "$$(make -s env)"
	$(RUN)/postgres.py
