ALTER DATABASE app SET idle_session_timeout = '500ms';
