from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import pickle

import pytest

from socialvault.exceptions import ConfigurationError
from socialvault.transports.settings import TransportSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"total_deadline": dt.timedelta(0)},
        {"connect_timeout": dt.timedelta(seconds=-1)},
        {"idle_timeout": dt.timedelta(0)},
        {"max_connections": 0},
        {"allowed_hosts": "social.example"},
        {"allowed_hosts": {"Social.Example"}},
        {"proxy": "socks5://CANARY@127.0.0.1:1080"},
        {"proxy": "https://CANARY@127.0.0.1:1080"},
        {"proxy": "http://CANARY@127.0.0.1"},
        {"proxy": "http://CANARY@127.0.0.1:http"},
        {"proxy": "CANARY"},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong):
    with pytest.raises(ConfigurationError) as caught:
        TransportSettings(**wrong)
    assert next(iter(wrong)) in str(caught.value)
    assert "CANARY" not in str(caught.value)


def test_l_01_the_proxy_s_password_is_not_shown():
    settings = TransportSettings(proxy="http://user:CANARY@127.0.0.1:3128")
    assert "CANARY" not in repr(settings)
    for export in (dataclasses.asdict, pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            export(settings)
