#include "control/cli/completion.h"

namespace istmo::control {

namespace {

// All three scripts list namespaces in the same way.
constexpr const char* kNamespacesFolder = "${XDG_DATA_HOME:-$HOME/.local/share}/istmo/namespaces";

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// Inside single quotes of a shell.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (char octet : text) {
    if (octet == '\'') result += "'\\''";
    else result += octet;
  }
  return result + "'";
}

std::vector<CommandFlag> with_globals(const CommandNode& node, const CommandNode& root) {
  std::vector<CommandFlag> flags = node.flags;
  if (&node == &root) return flags;
  for (const CommandFlag& flag : root.flags) {
    if (flag.names.front() != "-h") flags.push_back(flag);
  }
  return flags;
}

// --- bash and zsh ----------------------------------------------------------------------------
// Both get one function that walks the words to the verb and prints what may follow. It has no
// variable called path: in zsh that is PATH.

std::string bash_words(const CommandNode& node, const CommandNode& root) {
  std::vector<std::string> words;
  for (const CommandNode& child : node.commands) words.push_back(child.name);
  for (const CommandFlag& flag : with_globals(node, root)) {
    words.insert(words.end(), flag.names.begin(), flag.names.end());
  }
  words.insert(words.end(), node.choices.begin(), node.choices.end());
  return joined(words);
}

std::string bash_value(Completes completes, const std::vector<std::string>& choices) {
  switch (completes) {
    case Completes::nothing: return "COMPREPLY=()";
    case Completes::file:
      return "compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$word\"))";
    case Completes::namespaces: return "_istmo_namespaces";
    case Completes::choices:
      return "COMPREPLY=($(compgen -W " + quoted(joined(choices)) + " -- \"$word\"))";
  }
  return "";
}

void bash_node(const CommandNode& node, const CommandNode& root, const std::string& path,
               std::string& values, std::string& words) {
  for (const CommandFlag& flag : with_globals(node, root)) {
    if (!flag.takes_value) continue;
    for (const std::string& name : flag.names) {
      values += "    '" + path + " " + name + "') " + bash_value(flag.completes, flag.choices) +
                "; return ;;\n";
    }
  }
  words += "    '" + path + "')\n      COMPREPLY=($(compgen -W " + quoted(bash_words(node, root)) +
           " -- \"$word\"))\n";
  if (node.completes == Completes::file) {
    words +=
        "      [[ $word == -* ]] || { compopt -o filenames 2>/dev/null; "
        "COMPREPLY+=($(compgen -f -- \"$word\")); }\n";
  }
  words += "      ;;\n";
  for (const CommandNode& child : node.commands) {
    bash_node(child, root, path + " " + child.name, values, words);
  }
}

// Every path of verbs, so that the walk knows which words are verbs.
std::string verb_paths(const CommandNode& node, const std::string& path) {
  std::string text;
  for (const CommandNode& child : node.commands) {
    const std::string below = path + " " + child.name;
    text += (text.empty() ? "" : "|") + quoted(below);
    const std::string deeper = verb_paths(child, below);
    if (!deeper.empty()) text += "|" + deeper;
  }
  return text;
}

std::string bash_script(const CommandNode& tree) {
  std::string values;
  std::string words;
  bash_node(tree, tree, "istmo", values, words);
  return "# bash completion of istmo; made by `istmo completion bash`\n"
         "_istmo_namespaces() {\n"
         "  local folder=\"" +
         std::string(kNamespacesFolder) +
         "\" names='' entry\n"
         "  for entry in \"$folder\"/*/; do\n"
         "    [[ -d $entry ]] && names+=\" $(basename \"$entry\")\"\n"
         "  done\n"
         "  COMPREPLY=($(compgen -W \"$names\" -- \"$word\"))\n"
         "}\n"
         "_istmo() {\n"
         "  local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n"
         "  local verb=istmo index\n"
         "  for ((index = 1; index < COMP_CWORD; index++)); do\n"
         "    case \"$verb ${COMP_WORDS[index]}\" in\n"
         "      " +
         verb_paths(tree, "istmo") +
         ") verb+=\" ${COMP_WORDS[index]}\" ;;\n"
         "    esac\n"
         "  done\n"
         "  case \"$verb $previous\" in\n" +
         values +
         "  esac\n"
         "  case \"$verb\" in\n" +
         words +
         "  esac\n"
         "}\n"
         "complete -F _istmo istmo\n";
}

// zsh runs the same function through its own emulation of bash's completion.
std::string zsh_script(const CommandNode& tree) {
  return "#compdef istmo\n"
         "# zsh completion of istmo; made by `istmo completion zsh`\n"
         "autoload -Uz bashcompinit && bashcompinit\n" +
         bash_script(tree) + "[[ $funcstack[1] != _istmo ]] || _bash_complete -F _istmo\n";
}

// --- fish ------------------------------------------------------------------------------------

std::string fish_flag(const CommandFlag& flag, const std::string& condition) {
  std::string line = "complete -c istmo -n " + quoted(condition);
  for (const std::string& name : flag.names) {
    line += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
  }
  if (flag.takes_value) {
    switch (flag.completes) {
      case Completes::nothing: line += " -x"; break;
      case Completes::file: line += " -r -F"; break;
      case Completes::namespaces: line += " -x -a '(__istmo_namespaces)'"; break;
      case Completes::choices: line += " -x -a " + quoted(joined(flag.choices)); break;
    }
  }
  return line + " -d " + quoted(flag.description) + "\n";
}

std::string fish_node(const CommandNode& node, const CommandNode& root, const std::string& path) {
  const std::string condition = "__istmo_at " + quoted(path);
  std::string text;
  for (const CommandNode& child : node.commands) {
    text += "complete -c istmo -f -n " + quoted(condition) + " -a " + child.name + " -d " +
            quoted(child.description) + "\n";
  }
  for (const CommandFlag& flag : with_globals(node, root)) text += fish_flag(flag, condition);
  if (!node.choices.empty()) {
    text += "complete -c istmo -f -n " + quoted(condition) + " -a " + quoted(joined(node.choices)) +
            "\n";
  } else if (node.completes == Completes::file) {
    text += "complete -c istmo -F -n " + quoted(condition) + "\n";
  }
  for (const CommandNode& child : node.commands) {
    text += fish_node(child, root, path + " " + child.name);
  }
  return text;
}

std::string fish_script(const CommandNode& tree) {
  std::string verbs = verb_paths(tree, "istmo");
  for (char& octet : verbs) {
    if (octet == '|') octet = ' ';
  }
  return "# fish completion of istmo; made by `istmo completion fish`\n"
         "function __istmo_namespaces\n"
         "  set -l data $XDG_DATA_HOME\n"
         "  test -n \"$data\"; or set data $HOME/.local/share\n"
         "  for entry in $data/istmo/namespaces/*/\n"
         "    basename $entry\n"
         "  end\n"
         "end\n"
         "function __istmo_at\n"
         "  set -l verbs istmo\n"
         "  for word in (commandline -opc)[2..-1]\n"
         "    contains -- \"$verbs $word\" " +
         verbs +
         "; and set verbs \"$verbs $word\"\n"
         "  end\n"
         "  test \"$verbs\" = \"$argv[1]\"\n"
         "end\n"
         "complete -c istmo -f\n" +
         fish_node(tree, tree, "istmo");
}

}  // namespace

std::string completion_script(const std::string& shell, const CommandNode& tree) {
  if (shell == "zsh") return zsh_script(tree);
  if (shell == "fish") return fish_script(tree);
  return bash_script(tree);
}

}  // namespace istmo::control
