# SPDX-License-Identifier: GPL-2.0-or-later
"""Examples at the end of each verb's ``--help``: words after ``switchover``, and what they do."""

EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "demo": (
        ("demo", "once with device pre-copy off, once with it on"),
        ("demo --repeats 5", "five times each, in turns: medians with minimum and maximum"),
    ),
    "doctor": (
        ("doctor", "what demo, labs and the project's own tests need"),
        ("doctor --for demo", "what the demo needs, and nothing else"),
        ("doctor --for host rack1", "a host of the inventory"),
    ),
    "list": (
        ("list", "scenarios and functions, with how many cases each has"),
        ("list precopy", "the cases of a scenario, with tags and needs"),
        ("list --tag libvirt --json", "cases that have a tag, for programs"),
        ("list --runs", "runs, and what became of them"),
    ),
    "plan": (
        ("plan precopy", "its cases, what is expected of each and why"),
        ("plan precopy --only pre_copy-on --commands", "of some, with QEMU's command lines"),
        ("plan precopy --probe", "also what hosts say that are up"),
    ),
    "explain": (
        ("explain compat qemu-10.0 qemu-11.1", "two QEMUs with the newest machine type that both have"),
        ("explain compat qemu-7.2 qemu-11.1 pc-q35-7.2 --json", "with one that you name, for programs"),
        ("explain compat rack1:/usr/bin/qemu-kvm rack2:/opt/qemu/bin/qemu-kvm --all", "binaries of your hosts"),
    ),
    "run": (
        ("run precopy", "all cases of a scenario, in a lab"),
        ("run precopy --repeat 5 --only pre_copy-on", "some of them, five times each"),
        ("run matrix-night --budget 8", "for eight hours, what was not run for longest first"),
        ("run mine.toml --hosts rack1,rack2", "a scenario of yours, on hosts of the inventory"),
    ),
    "repro": (
        ("repro last pre_copy-on", "the case once more, as its record has it"),
        ("repro last pre_copy-on --until-fail --repeat 50", "until it is not as expected, 50 times at most"),
    ),
    "attach": (
        ("attach last pre_copy-on source --ssh", "a shell in the source's guest"),
        ("attach last pre_copy-on destination --qmp", "a shell on the monitor of the destination's QEMU"),
    ),
    "show": (
        ("show last", "the answers of the latest run"),
        ("show last precopy", "all of the cases whose ids have this in them"),
        ("show last --matrix source destination machine", "as tables of two axes, one for each value of a third"),
        ("show last --format junit", "as JUnit's XML, for CI"),
    ),
    "compare": (
        ("compare last", "the arms of the latest run, as its scenario names them"),
        ("compare last --axis device.pre_copy --baseline off", "the values of an axis"),
        ("compare 2026-11-30T02 last", "two runs: the cases that both have"),
        ("compare 2026-11-30T02 last --fail-if-worse 5%", "exit code 1 if a number became worse by more than that"),
    ),
    "history": (
        ("history", "cases that the history has numbers of"),
        ("history import /srv/nightly/runs other.sqlite", "add runs, and the history of another machine"),
        ("history precopy.device.pre_copy-on downtime.explained", "a number, run by run"),
    ),
    "trend": (
        ("trend", "the numbers whose level changed, and since when"),
        ("trend precopy.device.pre_copy-on downtime.explained", "one of them in full, with a plot"),
    ),
    "export": (
        ("export last --as kcidb --output run.json", "for KCIDB, validated by its own library"),
        ("export last --as tap", "for whatever reads TAP"),
    ),
    "irq": (
        ("irq record local --seconds 30", "where IRQ threads of this machine run"),
        ("irq report irq-local.trace.gz --html page.html", "a recording once more, as a page"),
        ("irq conditions --kernel kernel-6.12-rt", "conditions that are known, in guests of this machine"),
    ),
    "lab": (
        ("lab up", "two lab hosts, which other verbs then use"),
        ("lab ssh hosta", "a shell on one of them"),
        ("lab down", "stop them, and prove that nothing is left"),
    ),
    "images": (
        ("images list", "what is built, and how large it is"),
        ("images build", "what is missing"),
        ("images build qemu --patch fix.patch", "a QEMU of your own"),
    ),
    "hosts": (
        ("hosts", "this machine, and the hosts of the inventory"),
        ("hosts rack1 --json", "one of them, everything, for programs"),
        ("hosts --lab default", "the hosts of a lab that is up, too"),
    ),
    "clean": (
        ("clean --dry-run", "what would be undone"),
        ("clean", "undo it, and prove that nothing is left"),
    ),
    "schema": (
        ("schema", "for editors: a JSON schema of scenario files"),
        ("schema --reference", "the same keys, as Markdown"),
    ),
    "oracle": (
        ("oracle seen last --output seen.json", "rules that held in the latest run"),
        ("oracle qemus --output qemus.json", "ask the QEMUs that the project names, in a lab"),
    ),
    "completion": (
        ("completion bash", 'for ~/.bashrc: eval "$(switchover completion bash)"'),
        ("completion zsh", "the same for zsh, after compinit in ~/.zshrc"),
        ("completion fish", "to be written to ~/.config/fish/completions/switchover.fish"),
    ),
    "test": (
        ("test unit", "takes no lab"),
        ("test lab -k precopy", "tests of a tier by their names"),
        ("test --all", "every test there is"),
    ),
    "bench": (
        ("bench next", "how long one more case takes in a lab that is up"),
        ("bench plan", "plan and show 25,000 cases; takes no lab"),
    ),
}


def render_examples(verb: str) -> str:
    """Text for the end of a verb's help. Empty: it has none."""
    examples = EXAMPLES.get(verb, ())
    width = max((len(words) for words, _ in examples), default=0)
    lines = [f"  switchover {words:<{width}}  {told}" for words, told in examples]
    return "\n".join(["examples:", *lines]) if lines else ""
