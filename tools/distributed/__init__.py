"""Several hosts that train or predict together: servers, messages, and what happens if a host is lost.

probing.py     asks the server of a host whether its process still answers
identity.py    asks the server of a host which host of which run it is
watch.py       ends this process if the others make no progress, and says which host is missing
server.py      starts TensorFlow's server of this host, and waits for those of the others
team.py        `Team`: this host among the others, with messages between them; `Alone`: one process
agreement.py   compares flags, data and versions of the hosts before the first step
"""
