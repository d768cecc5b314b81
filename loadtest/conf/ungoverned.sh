key[ungoverned]=$(make_key ungoverned load)
