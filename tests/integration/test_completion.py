"""Completions in the shells themselves: keys are typed at a terminal, and the command is run."""

import os
import pty
import select
import signal
import time

import pytest

PROMPT = "READY-TO-TYPE"
PATIENCE_SECONDS = 30

# What each shell reads at its start: the script, a prompt, and an istmo that shows its arguments.
BASH_LIKE = """
istmo() {{ printf 'GOT:%s:\\n' "$*"; }}
PS1={prompt}
"""
SETUPS = {
    "bash": "source {script}" + BASH_LIKE,
    # As the package has it: zsh loads the function when it is needed.
    "zsh": "fpath=({folder} $fpath)\nautoload -Uz compinit && compinit -u -D" + BASH_LIKE,
    "fish": """
source {script}
function istmo; echo "GOT:$argv:"; end
function fish_prompt; echo {prompt}; end
function fish_greeting; end
""",
}


def words_of(shell, setup):
    return {"bash": ["bash", "--rcfile", setup, "-i"], "zsh": ["zsh", "-i"],
            "fish": ["fish", "--no-config", "-C", f"source {setup}"]}[shell]


class Terminal:
    """A shell at a terminal of its own."""

    def __init__(self, words, environment):
        self.seen = ""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execvpe(words[0], words, environment)

    def type(self, keys):
        os.write(self.descriptor, keys.encode())

    def wait_for(self, text):
        """Everything up to `text` is forgotten."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"waited for {text!r}, saw: {self.seen!r}"
            if select.select([self.descriptor], [], [], left)[0]:
                self.seen += os.read(self.descriptor, 65536).decode(errors="replace")
        self.seen = self.seen.partition(text)[2]

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


@pytest.fixture(params=sorted(SETUPS))
def terminal(request, world, need):
    shell = request.param
    need(shell)
    script = world.folder / "_istmo"
    script.write_text(world.run_istmo("completion", shell).stdout)
    setup = world.folder / ".zshrc"
    setup.write_text(SETUPS[shell].format(script=script, folder=world.folder, prompt=PROMPT))
    made = Terminal(words_of(shell, str(setup)),
                    dict(world.environment, ZDOTDIR=str(world.folder), TERM="dumb"))
    made.wait_for(PROMPT)
    yield made
    made.close()


@pytest.mark.parametrize("keys,got", [
    ("istmo compl\tba\t", "completion bash"),
    ("istmo link cre\t", "link create"),
    ("istmo init --servi\tx --io ur\t", "init --service-host x --io uring"),
    ("istmo status -n wes\t", "status -n west")])
def test_words_are_completed(terminal, world, keys, got):
    """zsh ties the name `path` to PATH: a script that uses it finds no namespaces."""
    (world.data / "istmo" / "namespaces" / "west").mkdir(parents=True)
    terminal.type(keys + "\n")
    terminal.wait_for("GOT:" + got)
