# Types a line and a tab into a zsh of its own, and prints what the line has become.
zmodload zsh/zpty
script=$1
shift
for line in "$@"; do
  zpty shell zsh -f -i
  zpty -w shell "PS1=; autoload -Uz compinit; compinit -u -D; source ${(q)script}; bindkey '^I' complete-word; unsetopt beep zle_bracketed_paste; stty -echo; print READY"
  while zpty -r shell out; do [[ $out == *READY* && $out != *print* ]] && break; done
  zpty -w -n shell "$line"$'\t#END\n'
  while zpty -r shell out; do [[ $out == *'#END'* ]] && break; done
  print -r -- "$out"
  zpty -d shell
done
